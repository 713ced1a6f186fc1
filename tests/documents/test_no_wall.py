"""A conversation without a wall: a small run of the script that fills one under `kill -9`."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from tests.support.depth import cases

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "scripts" / "faults" / "no_wall.py"


async def test_moves_cut_by_kill_nine_lose_nothing_and_keep_the_order() -> None:
    messages, kills = cases(400, in_ci=1500), cases(2, in_ci=4)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SCRIPT),
        *("--messages", str(messages), "--kills", str(kills), "--seed", "2"),
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[2])},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    text = output.decode()
    assert process.returncode == 0, text
    report = json.loads(text[text.index("{") :])
    assert report["messages"] >= report["acknowledged"] >= messages
    assert report["pages"] > messages // 75
    assert report["kills"] >= kills - 1
    for wrong in ("lost", "doubled", "changed", "unknown", "torn"):
        assert report[wrong] == 0, wrong
