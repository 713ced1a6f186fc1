"""The seed script, run as people run it, against a real wire server."""

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from proxy.database import Database
from proxy.documents.base import SHARED_OWNER
from proxy.documents.counter import Counter
from proxy.documents.plan_category import PlanCategory

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "scripts" / "seed_plan_categories.py"


@pytest.fixture
def wire(new_wire: Database) -> Database:
    """Nothing is there yet."""
    return new_wire


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT)],
        env={**os.environ, "PYTHONUTF8": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


async def test_the_script_seeds_any_database_and_keeps_edits(wire: Database, wire_uri: str) -> None:
    where = {"PROXY_MONGODB_URI": wire_uri, "PROXY_MONGODB_DATABASE": wire.database.name}
    first = run(**where)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == "1 需求计划\n2 开发计划\n3 测试计划\n4 整改计划\n5 知识库\n"
    await wire.prepare()
    await PlanCategory.change("default", 1, {"name": "需求评审"})
    await PlanCategory.of(SHARED_OWNER).delete_one({"_id": 5})
    assert run(**where).stdout.startswith("1 需求评审\n")
    assert [raw["_id"] for raw in await PlanCategory.by_id("default")] == [1, 2, 3, 4, 5]
    assert await Counter.reserve("plan_categories") == 6


def test_the_script_says_what_is_missing(tmp_path: Path) -> None:
    nothing = run()
    assert nothing.returncode == 2
    assert nothing.stderr.startswith("PROXY_MONGODB_URI: ")
    assert nothing.stderr.count("\n") == 1
    wrong = run(PROXY_MONGODB_URI="postgres://x")
    assert wrong.returncode == 2
    silent = run(
        PROXY_MONGODB_URI="mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=200",
        PROXY_MONGODB_DATABASE=f"x{uuid4().hex[:6]}",
    )
    assert silent.returncode == 1
    assert "Traceback" not in silent.stderr
