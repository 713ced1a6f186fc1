"""Log lines as JSON: what they say of a request and of a reply, and what they never say."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.web.logs import JsonFormatter, RequestIdFilter
from tests.conftest import LiveServer
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.replies import create, provider, say

KEY = "k" * 40
SECRET = "冒泡 content-that-nobody-logs"


class Lines:
    """What was logged under a name, line by line."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.handler = logging.StreamHandler(self.stream)
        self.handler.addFilter(RequestIdFilter())
        self.handler.setFormatter(JsonFormatter())

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def of(self, logger: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.text.splitlines()]
        return [line for line in found if line["logger"] == logger]


@pytest.fixture
def lines() -> Iterator[Lines]:
    found = Lines()
    logger = logging.getLogger("proxy")
    former = logger.level
    logger.addHandler(found.handler)
    logger.setLevel(logging.INFO)
    yield found
    logger.removeHandler(found.handler)
    logger.setLevel(former)


async def test_a_turn_gives_one_line_of_the_request_and_one_of_the_reply(
    live: LiveServer, lines: Lines
) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    async with OpenAIUpstream() as openai:
        openai.play(openai.reply("the answer " + SECRET))
        async with live(providers=[provider(openai)], access_log=True) as client:
            id_ = await create(client)
            client.headers["traceparent"] = f"00-{trace}-b7ad6b7169203331-01"
            turn = (await say(client, id_, SECRET)).json()
    (reply,) = lines.of("proxy.replies")
    assert reply["ended"] == "complete"
    assert reply["level"] == "info"
    assert reply["ts"].endswith("Z")
    assert reply["conversation_id"] == id_
    assert reply["message_id"] == turn["assistant_message_id"]
    assert (reply["provider"], reply["model"], reply["tokens"]) == ("openai", "test-model", 18)
    assert reply["owner"] == "default"
    assert reply["ms"] >= 0
    _, request = lines.of("proxy.access")
    assert request["route"] == "/v1/chat/conversations/{conversation_id}/messages"
    assert (request["method"], request["status"]) == ("POST", 200)
    assert request["trace_id"] == trace
    assert request["request_id"] == reply["request_id"]
    assert SECRET not in lines.text


async def test_a_reply_that_failed_says_how_it_ended(live: LiveServer, lines: Lines) -> None:
    async with OpenAIUpstream() as openai:
        openai.play(openai.status(500))
        async with live(providers=[provider(openai)]) as client:
            await say(client, await create(client))
    (reply,) = lines.of("proxy.replies")
    assert reply["ended"] == "failed"


async def test_a_call_without_memory_is_logged_too(live: LiveServer, lines: Lines) -> None:
    async with OpenAIUpstream() as openai:
        openai.play(openai.reply("hi"))
        async with live(providers=[provider(openai)], api_keys=KEY, access_log=True) as client:
            client.headers["authorization"] = f"Bearer {KEY}"
            body = {"model": "test-model", "messages": [{"role": "user", "content": SECRET}]}
            await client.post("/v1/chat/completions", json=body)
    (reply,), (request,) = lines.of("proxy.replies"), lines.of("proxy.access")
    assert reply["ended"] == "complete"
    assert reply["key_id"] == request["key_id"] == "config_1"
    assert KEY not in lines.text
    assert "conversation_id" not in reply
    assert SECRET not in lines.text


def test_a_line_is_one_line_whatever_is_in_it() -> None:
    def line(**fields: Any) -> Any:
        text = JsonFormatter().format(logging.makeLogRecord({"levelname": "INFO", **fields}))
        assert "\n" not in text
        return json.loads(text)

    half = "two\nlines \ud800 \u2028 漢"
    assert line(msg=half)["msg"] == half
    assert line(msg="large", tokens=2**70)["tokens"] == 2**70
    try:
        raise ValueError("a\nb")
    except ValueError:
        assert line(msg="x", exc_info=sys.exc_info())["exception"].endswith("ValueError: a\nb")
