"""The Codex CLI with a scripted task, before a chat upstream, a native one and Poe's protocol.

What Codex breaks on: tools that are dropped (`apply_patch` is a custom one), reasoning that does
not come back, codes of failures that it does not know, streams without an event for too long.
"""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.database import Database
from tests.conftest import make_settings, running_app
from tests.fakes.answering_model import (
    LINK,
    PICTURE,
    AnsweringModel,
    asked_in_items,
    asked_in_messages,
    asked_in_query,
    poe_calls,
)
from tests.fakes.live import serve
from tests.fakes.openai_upstream import chunk, frame, usage_chunk
from tests.fakes.poe_upstream import event as poe_event
from tests.fakes.responses_upstream import call, event, item_frames, message, reasoning, response
from tests.fakes.scripted import Recorded, Script, head, script, wait, whole
from tests.sdk.conftest import HERE, KEY, Run, needed
from tests.support.clients import client_at

CODEX = HERE / "node_modules" / "@openai" / "codex" / "bin" / "codex.js"
MODEL = "gpt-5.5"
"""One of which Codex knows that it patches by a custom tool."""
UNKNOWN = "deepseek-chat"
"""One that it gives this tool to by the server's list of models alone."""
COMMANDS = ["echo one > one.txt", "echo two > two.txt"]
ARGUMENTS = {"shell_command": "command", "exec_command": "cmd"}
PATCH = "*** Begin Patch\n*** Add File: patched.txt\n+patched 漢\n*** End Patch\n"
SCHEMA = {
    "type": "object",
    "properties": {"results": {"type": "integer"}},
    "required": ["results"],
    "additionalProperties": False,
}

CONFIG = """
model = "{model}"
model_provider = "proxy"
approval_policy = "never"
sandbox_mode = "danger-full-access"
[model_providers.proxy]
name = "proxy"
base_url = "{base_url}"
wire_api = "responses"
env_key = "PROXY_KEY"
request_max_retries = 0
stream_max_retries = {retries}
stream_idle_timeout_ms = 1000
supports_websockets = {websockets}
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="the task is a shell's"),
]


class Coder(AnsweringModel):
    """A model that thinks and runs two commands at once, patches a file, then says so."""

    kind = "native"

    def answer_to(self, request: Recorded) -> Script:
        if request.path == "/upload":
            return whole(200, {"attachment_url": LINK, "mime_type": "image/png"})
        body = request.json
        if self.kind == "native":
            return self._by_items(body)
        asked = asked_in_messages(body) if self.kind == "chat" else asked_in_query(body)
        made = step_of(len(asked.results), [tool["function"]["name"] for tool in body["tools"]])
        text = json.dumps({"results": len(asked.results)})
        if self.kind == "chat":
            thought = chunk({"reasoning_content": "Hm"})
            if not made:
                return self.chunks(chunk({"content": text}), self.end())
            fragments = [
                {"index": n, "id": id_, "type": "function", "function": function}
                for n, (id_, function) in enumerate(made.items())
            ]
            calls = chunk({"tool_calls": fragments}), chunk(finish_reason="tool_calls")
            return self.chunks(thought, *calls, usage_chunk(), b"data: [DONE]\n\n")
        if not made:
            return script(head(), poe_event("text", {"text": text}), poe_event("done", {}))
        calls_made = [(id_, each["name"], each["arguments"]) for id_, each in made.items()]
        return script(head(), *poe_calls(*calls_made), poe_event("done", {}))

    def _by_items(self, body: dict[str, Any]) -> Script:
        results = len(asked_in_items(body).results)
        if results == len(COMMANDS):
            patch = {"type": "custom_tool_call", "id": "ctc_up", "status": "completed"}
            patch |= {"call_id": "c2", "name": "apply_patch", "input": PATCH}
            return self.respond(reasoning("sealed"), patch)
        made = step_of(results, [tool.get("name", "") for tool in body["tools"]])
        if not made:
            return self.respond(message(json.dumps({"results": results})))
        calls = [call(id_, each["name"], each["arguments"]) for id_, each in made.items()]
        return self.respond(reasoning("sealed"), *calls)


def step_of(results: int, tools: list[str]) -> dict[str, dict[str, str]]:
    """The calls of the next step, by their ids; none at the end."""
    if results == 0:
        name = next(name for name in ARGUMENTS if name in tools)
        return {
            f"c{number}": {"name": name, "arguments": json.dumps({ARGUMENTS[name]: command})}
            for number, command in enumerate(COMMANDS)
        }
    if results == len(COMMANDS):
        return {"c2": {"name": "apply_patch", "arguments": json.dumps({"input": PATCH})}}
    return {}


@asynccontextmanager
async def served(
    mock: Database, model: AnsweringModel, kind: str, name: str = MODEL
) -> AsyncIterator[str]:
    """The base URL of a server before a model that is asked one of the three ways."""
    route = f"{'poe' if kind == 'poe' else 'openai'}/{name}"
    responses: Any = "native" if kind == "native" else "chat"
    settings = make_settings(
        openai_base_url=model.base_url,
        openai_api_key="k-upstream",
        poe_base_url=model.poe_url,
        poe_upload_url=model.upload_url,
        poe_api_key="p-key-0123456789",
        api_keys=KEY,
        heartbeat_seconds=0.2,
        stream_open_seconds=0.2,
        access_log=True,
        models={name: {"route": [route], "responses": responses}},
    )
    async with running_app(mock, settings) as app, serve(app) as url:
        yield f"{url}/v1"


async def work(
    run: Run,
    node: str,
    home: Path,
    base_url: str,
    *arguments: str,
    retries: int = 0,
    websockets: bool = False,
) -> tuple[int, list[Any]]:
    """Let Codex do its task; its exit status and the events that it prints."""
    if not CODEX.is_file():
        needed(None, "The Codex CLI")
    (home / ".codex").mkdir(exist_ok=True)
    (home / ".codex" / "config.toml").write_text(
        CONFIG.format(
            base_url=base_url,
            model=MODEL,
            retries=retries,
            websockets=str(websockets).lower(),
        )
    )
    status, out, err = await run(
        *(node, str(CODEX), "exec", "--skip-git-repo-check", "--json", *arguments, "Make it"),
        PROXY_KEY=KEY,
        CODEX_HOME=str(home / ".codex"),
    )
    events = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert events, err
    return status, events


@pytest.mark.parametrize(
    ("kind", "name", "websockets"),
    [
        ("chat", MODEL, False),
        ("native", MODEL, False),
        ("poe", MODEL, False),
        ("chat", UNKNOWN, False),
        ("chat", MODEL, True),
        ("native", MODEL, True),
    ],
)
async def test_a_task_is_done(
    run: Run,
    node: str,
    mock: Database,
    tmp_path: Path,
    kind: str,
    name: str,
    websockets: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "proxy.access")
    (tmp_path / "picture.png").write_bytes(base64.b64decode(PICTURE.partition(",")[2]))
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    # Poe's protocol has no JSON schema: a call with one is refused there.
    wanted = [] if kind == "poe" else ["--output-schema", "schema.json"]
    async with Coder() as model:
        model.kind = kind
        async with served(mock, model, kind, name) as url:
            if name == UNKNOWN:
                wanted += ["-m", name, "-c", f"model_catalog_json={await catalog(url, tmp_path)}"]
            # What follows `--image` is a list of pictures.
            wanted = ["--image=picture.png", *wanted]
            status, events = await work(run, node, tmp_path, url, *wanted, websockets=websockets)
    assert status == 0, events
    assert ("GET /v1/responses 101" in caplog.text) is websockets
    assert (tmp_path / "one.txt").read_text() == "one\n"
    assert (tmp_path / "two.txt").read_text() == "two\n"
    assert (tmp_path / "patched.txt").read_text() == "patched 漢\n"
    assert json.loads(events[-2]["item"]["text"]) == {"results": 3}
    asked = [request.json for request in model.requests if request.path != "/upload"]
    assert len(asked) == 3
    first, last = json.dumps(asked[0]), asked[2]
    assert (LINK if kind == "poe" else "data:image/png;base64,") in first
    if kind == "native":
        # What was encrypted comes back from the client as it went out.
        sealed = [
            item["encrypted_content"] for item in last["input"] if item["type"] == "reasoning"
        ]
        assert sealed == ["sealed", "sealed"]
        assert last["text"]["format"]["type"] == "json_schema"
    elif kind == "chat":
        # Without it some models refuse the results of their own calls.
        calling = [each for each in last["messages"] if each.get("tool_calls")]
        assert [each["reasoning_content"] for each in calling] == ["Hm", "Hm"]
        assert last["response_format"]["type"] == "json_schema"


async def catalog(base_url: str, folder: Path) -> Path:
    """The server's list of models as a file for Codex."""
    path = folder / "models.json"
    async with client_at(base_url, headers={"authorization": f"Bearer {KEY}"}) as client:
        listed = await client.get("/models?client_version=0.169.0")
        path.write_bytes(listed.raise_for_status().content)
    return path


class Failing(AnsweringModel):
    """A model whose stream breaks with an error of a code, or without one, then answers."""

    def __init__(self, *codes: str) -> None:
        super().__init__()
        self.codes = list(codes)

    def answer_to(self, request: Recorded) -> Script:
        if not self.codes:
            return self.chunks(chunk({"content": "Done"}), self.end())
        code = self.codes.pop(0)
        if not code:
            return self.texts("Hel")
        error = {"message": "It is full; please try again in 0.011s.", "code": code}
        return self.chunks(chunk({"content": "Hel"}), frame({"error": error}))


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("context_length_exceeded", "ran out of room in the model's context window"),
        ("insufficient_quota", "Quota exceeded"),
        ("usage_not_included", "upgrade to Plus"),
    ],
)
async def test_a_failure_is_shown_for_what_it_is(
    run: Run, node: str, mock: Database, tmp_path: Path, code: str, shown: str
) -> None:
    async with Failing(code) as model, served(mock, model, "chat") as url:
        _, events = await work(run, node, tmp_path, url)
    assert shown in events[-1]["error"]["message"]
    assert len(model.requests) == 1


@pytest.mark.parametrize("code", ["rate_limit_exceeded", ""], ids=["limit", "cut"])
async def test_a_stream_that_broke_is_asked_for_again(
    run: Run, node: str, mock: Database, tmp_path: Path, code: str
) -> None:
    # A limit says "try again in 0.011s", which Codex waits for; a stream that is cut has no code.
    async with Failing(code) as model, served(mock, model, "chat") as url:
        status, events = await work(run, node, tmp_path, url, retries=1, websockets=True)
    assert status == 0, events
    assert len(model.requests) == 2


@pytest.mark.parametrize("kind", ["chat", "native"])
async def test_a_model_may_think_for_longer_than_codex_waits(
    run: Run, node: str, mock: Database, tmp_path: Path, kind: str
) -> None:
    done = asyncio.Event()

    class Thinking(AnsweringModel):
        def answer_to(self, request: Recorded) -> Script:
            # Twice as long as `stream_idle_timeout_ms`.
            asyncio.get_running_loop().call_later(2, done.set)
            if kind == "native":
                item = message("Done")
                rest = script(*item_frames(0, item))
                return (
                    self.events()
                    + wait(done)
                    + rest
                    + event("response.completed", response=response([item]))
                )
            return script(head(), wait(done), chunk({"content": "Done"}), self.end())

    async with Thinking() as model, served(mock, model, kind) as url:
        status, events = await work(run, node, tmp_path, url)
    assert status == 0, events
