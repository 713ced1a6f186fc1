"""A conversation without a wall: a small run of the script that fills one under `kill -9`."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "scripts" / "faults" / "no_wall.py"


async def test_moves_cut_by_kill_nine_lose_nothing_and_keep_the_order() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SCRIPT),
        *("--messages", "1500", "--kills", "4", "--seed", "2"),
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[2])},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    text = output.decode()
    assert process.returncode == 0, text
    report = json.loads(text[text.index("{") :])
    assert report["messages"] >= report["acknowledged"] >= 1500
    assert report["pages"] > 20
    assert report["kills"] >= 3
    for wrong in ("lost", "doubled", "changed", "unknown", "torn"):
        assert report[wrong] == 0, wrong
