"""`proxy search`, as somebody types it."""

import argparse
import json

import pytest

from proxy.commands.search import add_search_command
from proxy.database import Database
from tests.conftest import client_of, make_settings, running_app
from tests.support.searching import conversation


async def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_search_command(parser.add_subparsers())
    arguments = parser.parse_args(["search", *words])
    code: int = await arguments.run(arguments)
    return code


async def test_the_command_prints_what_is_found(
    wire: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_app(wire, make_settings()) as app, client_of(app) as client:
        ids = await conversation(
            client, ["写冒泡排序\x1b[31m", "写快速排序", "C++ sort"], name="排序\x1b[2J"
        )
        assert await run("排序", "--in", "messages", "--limit", "3") == 0
        table = capsys.readouterr().out
        assert len(table.splitlines()) == 4
        assert f"user {ids[1]}" in table
        assert "写快速排序" in table
        assert "\x1b" not in table

        assert await run("写", "--not", "快速", "--json", "--in", "messages") == 0
        results = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [result["message_id"] for result in results] == [ids[0] + 1, ids[0]]

        assert await run("排序", "--limit", "1000", "--sort", "relevance") == 0
        assert "排序" in capsys.readouterr().out

        assert await run("nowhere", "--owner", "ada") == 1
        assert capsys.readouterr().out == ""
