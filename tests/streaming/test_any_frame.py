"""Every field of an upstream's frame with every JSON type, through the running app.

The text around it arrives whole, what is stored has ended, and OpenAI's SDK reads the answer.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from proxy.database import Database
from tests.conftest import client_of, make_settings, running_app
from tests.fakes.openai_upstream import OpenAIUpstream, chunk
from tests.fakes.scripted import head, script
from tests.support.completions import PATH, call, chunks, said
from tests.support.replies import create, history, provider, say

DELTA = ["content", "role", "name", "refusal", "reasoning_content", "reasoning", "thinking"]
DELTA += ["tool_calls", "function_call", "images", "audio", "annotations", "citations"]
DELTA += ["reasoning_details", "extra_content", "of the future", "a.b", "$set", "\x00"]
CHOICE = ["delta", "message", "text", "index", "finish_reason", "native_finish_reason"]
CHOICE += ["logprobs", "usage", "error", "stop_reason"]
FRAME = ["choices", "usage", "x_groq", "usageMetadata", "citations", "error", "object", "id"]
FRAME += ["model", "created", "type", "code", "message", "detail"]
FIELDS = [("delta", key) for key in DELTA] + [("choice", key) for key in CHOICE]
FIELDS += [("frame", key) for key in FRAME]

TEXTS = st.sampled_from(["", "x", "\ud83d", "a\u2028b", "\x00", "漢😀", "{", "stop", "tool_calls"])
NUMBERS = st.sampled_from([0, 1, -1, 2**70, -(2**70), 1.5, 1e308])
NAMES = ["index", "id", "type", "function", "name", "arguments", "text", "url", "image_url", "data"]
NAMES += ["prompt_tokens", "completion_tokens", "total_tokens", "content", "message", "a.b", "$x"]
KEYS = st.sampled_from(NAMES)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
DOORS = ["turn", "streamed turn", "completion", "streamed completion", "stateless", "relayed"]

ENDED = {"complete", "failed", "truncated"}


def odd_frame(where: str, key: str, value: Any) -> bytes:
    delta: dict[str, Any] = {}
    choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": None}
    frame: dict[str, Any] = {"id": "x", "object": "chat.completion.chunk", "choices": [choice]}
    {"delta": delta, "choice": choice, "frame": frame}[where][key] = value
    return b"data: " + json.dumps(frame).encode() + b"\n\n"


@dataclass
class Side:
    upstream: OpenAIUpstream = field(repr=False)
    client: httpx.AsyncClient = field(repr=False)


@pytest.fixture
async def side(wire: Database, openai: OpenAIUpstream) -> AsyncIterator[Side]:
    async with (
        running_app(wire, make_settings(), providers=[provider(openai)]) as app,
        client_of(app) as client,
    ):
        yield Side(openai, client)


async def through(door: str, client: httpx.AsyncClient, id_: str) -> tuple[httpx.Response, str]:
    """The answer to one call through a door, and the text that its client has."""
    if "turn" in door:
        response = await say(client, id_, stream=door == "streamed turn")
        if response.is_error or door == "turn":
            return response, response.json().get("reply", "")
        frames = [json.loads(line[6:]) for line in response.text.split("\n\n")[:-2]]
        return response, "".join(frame.get("content", "") for frame in frames)
    is_stateless = door in ("stateless", "relayed")
    body = call(conversation=None if is_stateless else id_, stream=door.endswith("d completion"))
    if door == "relayed":
        body["stream"] = True
    response = await client.post(PATH, json=body)
    if response.is_error:
        return response, ""
    if not body["stream"]:
        completion = ChatCompletion.model_validate(response.json())
        return response, completion.choices[0].message.content or ""
    if door == "relayed":
        # Its frames are the upstream's own bytes.
        assert response.text.rstrip().endswith("data: [DONE]")
        return response, "all said"
    found = chunks(response)
    for each in found:
        if "error" not in each:
            ChatCompletionChunk.model_validate(each)
    return response, said([each for each in found if "error" not in each])


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    where=st.sampled_from(FIELDS),
    values=st.lists(VALUES, min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 2_000), max_size=6),
    door=st.sampled_from(DOORS),
)
async def test_no_frame_costs_more_than_itself(
    side: Side, where: tuple[str, str], values: list[Any], cuts: list[int], door: str
) -> None:
    odd = [odd_frame(*where, value) for value in values]
    raw = b"".join([chunk({"content": "all "}), *odd, chunk({"content": "said"})])
    raw += side.upstream.end()
    places = sorted({0, len(raw), *(cut % len(raw) for cut in cuts)})
    pieces = [raw[a:b] for a, b in pairwise(places)]
    side.upstream.play(script(head(), *pieces), side.upstream.reply("ok"))
    id_ = await create(side.client)
    response, text = await through(door, side.client, id_)
    assert response.status_code != 500, response.text
    if door in ("stateless", "relayed"):
        assert response.is_error or (text.startswith("all ") and "said" in text)
        return
    _, reply = await history(side.client, id_)
    assert reply["status"] in ENDED
    assert reply["content"].startswith("all ")
    if reply["status"] == "complete":
        assert "said" in reply["content"]
        assert text == reply["content"]
    assert (await say(side.client, id_, "again")).json()["reply"] == "ok"
