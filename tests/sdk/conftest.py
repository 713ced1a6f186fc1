"""A live server with a key, in front of a scripted upstream, for the clients people run."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.database import Database
from tests.conftest import IN_CI, make_settings, running_app
from tests.dialects.chat_completions.conftest import KEY as UPSTREAM_KEY
from tests.fakes.live import serve
from tests.fakes.openai_upstream import OpenAIUpstream

HERE = Path(__file__).parent
KEY = "sk-mine-0123456789"


@dataclass
class Server:
    """`base_url` is what an OpenAI client takes."""

    base_url: str
    upstream: OpenAIUpstream


@pytest.fixture
async def server(mock: Database) -> AsyncIterator[Server]:
    async with OpenAIUpstream(models=["test-model", "vendor/other"]) as upstream:
        settings = make_settings(
            openai_base_url=upstream.base_url,
            openai_api_key=UPSTREAM_KEY,
            api_keys=KEY,
            read_timeout_seconds=2,
        )
        async with running_app(mock, settings) as app, serve(app) as url:
            yield Server(f"{url}/v1", upstream)


def needed(path: Path | str | None, what: str) -> str:
    """A program that a test drives: skipped visibly where it is missing, a failure in CI."""
    found = shutil.which(str(path)) if path else None
    if found is None:
        if IN_CI:
            pytest.fail(f"{what} is missing: run scripts/install-test-tools")
        pytest.skip(f"{what} is missing (scripts/install-test-tools)")
    return found


@pytest.fixture(scope="session")
def node() -> str:
    """Node.js, with the packages that `package.json` names beside the scripts."""
    for package in ("openai", "ai"):
        if not (HERE / "node_modules" / package).is_dir():
            needed(None, f"The Node package {package!r}")
    return needed("node", "Node.js")


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder of the programs that `requirements.txt` installs, apart from our own."""
    folder = HERE / ".venv" / ("Scripts" if sys.platform == "win32" else "bin")
    for program in ("llm", "litellm"):
        needed(folder / program, f"{program} of the other Python clients")
    return folder


Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`await run(program, *arguments, **environment)`: its exit status and what it printed."""

    async def start(*arguments: str, **environment: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environment},
        )
        try:
            out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, out.decode(), err.decode()

    return start


Asked = Callable[[dict[str, Any]], dict[str, Any]]


@contextmanager
def asked(*arguments: str, **environment: str) -> Iterator[Asked]:
    """A process that answers each line of JSON with one; `ask(request)` waits for the answer."""
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        questions, answers = process.stdin, process.stdout

        def ask(request: dict[str, Any]) -> dict[str, Any]:
            print(json.dumps(request), file=questions, flush=True)
            found: dict[str, Any] = json.loads(answers.readline())
            return found

        yield ask
        process.kill()


@pytest.fixture(scope="session")
def forking(tools: Path) -> Iterator[Asked]:
    """A process of the other Python clients that imports them once for all tests."""
    # LiteLLM would ask the internet for a list of prices.
    environment = {"PATH": os.environ["PATH"], "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with asked(str(tools / "python"), str(HERE / "forked.py"), **environment) as ask:
        yield ask


@pytest.fixture
def importing(forking: Asked, tmp_path: Path) -> Callable[..., Run]:
    """`importing("litellm")`: as `run`, of a Python script, in a process that has imported it."""

    def of(*imports: str) -> Run:
        async def start(*arguments: str, **environment: str) -> tuple[int, str, str]:
            request = {
                "imports": imports,
                "arguments": arguments,
                "environment": {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environment},
                "folder": str(tmp_path),
            }
            done = await asyncio.to_thread(forking, request)
            return done["status"], done["out"], done["err"]

        return start

    return of


async def answer(run: Run, *arguments: str, **environment: str) -> Any:
    """What a script prints as JSON."""
    status, out, err = await run(*arguments, **environment)
    assert status == 0, err
    return json.loads(out)
