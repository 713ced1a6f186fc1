"""The Codex CLI with a scripted task: the model calls the shell once, patches a file, answers."""

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.database import Database
from tests.conftest import make_settings, running_app
from tests.fakes.live import serve
from tests.fakes.responses_upstream import ResponsesUpstream, call, message, reasoning
from tests.fakes.scripted import Recorded, Script
from tests.sdk.conftest import HERE, KEY, Run, needed
from tests.support.chat_replies import called, said

CODEX = HERE / "node_modules" / "@openai" / "codex" / "bin" / "codex.js"
COMMAND = "echo made > made.txt"
ARGUMENTS = {
    "shell": {"command": ["bash", "-lc", COMMAND]},
    "shell_command": {"command": COMMAND},
    "exec_command": {"cmd": COMMAND},
}

CONFIG = """
model = "test-model"
model_provider = "proxy"
approval_policy = "never"
sandbox_mode = "danger-full-access"
[model_providers.proxy]
name = "proxy"
base_url = "{base_url}"
wire_api = "responses"
env_key = "PROXY_KEY"
request_max_retries = 0
stream_max_retries = 0
"""


class Model(ResponsesUpstream):
    """A model that runs a command by whatever tool it is given for that, then says so."""

    is_native = False

    def answer_to(self, request: Recorded) -> Script:
        body = request.json
        if self.is_native:
            tools = [tool.get("name") for tool in body["tools"]]
            results = [item for item in body["input"] if item["type"].endswith("_output")]
        else:
            tools = [tool["function"]["name"] for tool in body["tools"]]
            results = [item for item in body["messages"] if item["role"] == "tool"]
        if results:
            text = f"Done after {len(results)}"
            return self.respond(message(text)) if self.is_native else said(self, text)
        name = next(name for name in ARGUMENTS if name in tools)
        arguments = json.dumps(ARGUMENTS[name])
        if self.is_native:
            return self.respond(reasoning("sealed"), call("c1", name, arguments))
        return called(self, name, [("c1", arguments)])


@pytest.fixture(params=["chat", "native"])
async def model(request: pytest.FixtureRequest) -> AsyncIterator[Model]:
    async with Model() as model:
        model.is_native = request.param == "native"
        yield model


async def work(run: Run, node: str, home: Path, base_url: str, *arguments: str) -> list[Any]:
    """Let Codex do its task; the events that it prints."""
    if not CODEX.is_file():
        needed(None, "The Codex CLI")
    (home / ".codex").mkdir(exist_ok=True)
    (home / ".codex" / "config.toml").write_text(CONFIG.format(base_url=base_url))
    status, out, err = await run(
        *(node, str(CODEX), "exec", *arguments, "--skip-git-repo-check", "--json", "Make it"),
        PROXY_KEY=KEY,
        CODEX_HOME=str(home / ".codex"),
    )
    assert status == 0, err + out
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the task is a shell's")
async def test_a_task_is_done(
    run: Run, node: str, model: Model, mock: Database, tmp_path: Path
) -> None:
    settings = make_settings(
        openai_base_url=model.base_url,
        openai_api_key="k-upstream",
        api_keys=KEY,
        models={"test-model": {"responses": "native" if model.is_native else "chat"}},
    )
    async with running_app(mock, settings) as app, serve(app) as url:
        events = await work(run, node, tmp_path, f"{url}/v1")
    assert (tmp_path / "made.txt").read_text() == "made\n"
    assert "Done after 1" in json.dumps(events[-3:])
    sent = model.requests[1].json
    if model.is_native:
        # What was encrypted comes back from the client as it went out.
        sealed = [
            item["encrypted_content"] for item in sent["input"] if item["type"] == "reasoning"
        ]
        assert sealed == ["sealed"]
    else:
        roles = [item["role"] for item in sent["messages"]]
        assert roles[-2:] == ["assistant", "tool"]
