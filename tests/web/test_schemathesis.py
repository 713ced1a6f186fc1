"""Schemathesis over the whole OpenAPI document, with links between operations followed."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from proxy.providers.echo import EchoProvider
from tests.conftest import IN_CI, LiveServer
from tests.support.depth import cases
from tests.support.keys import ADMIN

pytestmark = pytest.mark.slow

CASES = os.environ.get("SCHEMATHESIS_CASES", str(cases(1, in_ci=2)))
"""For each operation; not seconds, so that every machine gets equally far."""
SEED = os.environ.get("SCHEMATHESIS_SEED", "1")
"""The same for every run, so that a change is judged and not chance; try others by hand."""

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "missing_required_header",
)
"""Not the two that take a project's id for its project: the label outlives it."""

PHASES = ("examples", *(["coverage"] if IN_CI else []), "fuzzing", "stateful")
"""The values at the edges of every field, a half of the cases, are for CI alone."""

OPTIONS = f"""
hooks = "{Path(__file__).parents[1] / "support" / "schemathesis_hooks.py"}"
[phases.coverage]
unexpected-methods = []
"""
"""Methods that a path has not are refused by the router, for all paths alike."""


@pytest.mark.timeout(600)
async def test_no_request_breaks_the_server_and_answers_match_their_schemas(
    live: LiveServer, tmp_path: Path
) -> None:
    options = tmp_path / "schemathesis.toml"
    options.write_text(OPTIONS)
    hurrying = [EchoProvider(delay_seconds=0.001)]
    async with live(providers=hurrying, api_keys=[ADMIN], source_roots=[str(tmp_path)]) as client:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("st")),
            f"--config-file={options}",
            "run",
            f"{client.base_url}/openapi.json",
            f"--header=Authorization: Bearer {ADMIN}",
            f"--checks={','.join(CHECKS)}",
            f"--phases={','.join(PHASES)}",
            f"--max-examples={CASES}",
            f"--seed={SEED}",
            "--request-timeout=30",
            "--continue-on-failure",
            "--generation-database=none",
            "--warnings=off",
            "--no-color",
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    text = output.decode(errors="replace")
    lines = [line[:300] for line in text.splitlines()]
    assert process.returncode == 0, "\n".join(lines[-400:])
    assert "Tested: 0" not in text
