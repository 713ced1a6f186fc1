"""`kill -9` of the server, its database or both: a small run of the script that does many."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from tests.support.depth import cases

pytestmark = pytest.mark.slow

KILLS, SEED = cases(1, in_ci=3), cases(3, in_ci=8)
"""Once everything is killed at the same time, in CI also one alone."""
SCRIPT = Path(__file__).parents[2] / "scripts" / "faults" / "kill_nine.py"


async def test_nothing_acknowledged_is_lost_when_everything_is_killed() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SCRIPT),
        *("--kills", str(KILLS), "--streams", "8", "--seed", str(SEED)),
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[2])},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    text = output.decode()
    assert process.returncode == 0, text
    report = json.loads(text[text.index("\n{") :])
    assert report["lost"] == []
    assert sum(report["kills"].values()) == KILLS
    assert "both" in report["kills"]
    assert report["acknowledged_messages"] >= 8
