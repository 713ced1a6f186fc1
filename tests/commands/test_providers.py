"""`proxy providers`: what each configured provider says to the official SDK."""

import asyncio
from pathlib import Path

import pytest

from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.command import command

pytestmark = pytest.mark.slow


async def run(folder: Path, **variables: str) -> tuple[int, str, str]:
    process = command(folder, "providers", **variables)
    out, err = await asyncio.to_thread(process.communicate, timeout=60)
    return process.wait(), out, err


async def test_it_says_how_many_models_each_provider_lists(tmp_path: Path) -> None:
    async with OpenAIUpstream(models=["one", "two"]) as upstream:
        (tmp_path / "proxy.toml").write_text(
            f'[providers.gone]\nbase_url = "http://127.0.0.1:9/v1"\napi_key = "sk-gone-012345"\n'
            f'[providers.local]\nbase_url = "{upstream.base_url}"\n'
        )
        code, out, err = await run(tmp_path)
    assert err == ""
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert lines["local"].endswith("2 models")
    assert lines["gone"].endswith("cannot be reached")
    assert code == 1
    assert "sk-gone" not in out


async def test_without_a_provider_it_names_the_settings(tmp_path: Path) -> None:
    code, out, err = await run(tmp_path)
    assert (code, err) == (0, "")
    assert "OPENAI_API_KEY" in out
