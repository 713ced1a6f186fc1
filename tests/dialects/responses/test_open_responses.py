"""The cases of the Open Responses compliance suite that HTTP has, at its commit 92c12d9.

The suite itself was run against the server before a chat upstream and a native one: these ten
pass, and its seven cases of WebSockets, which are in `test_websocket.py`.
"""

from typing import Any

import pytest

from tests.dialects.responses.conftest import Served
from tests.fakes.answering_model import PICTURE
from tests.support.chat_replies import called
from tests.support.response_events import events_of, text_in


def message(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content, **more}


LOOK = [
    {"type": "input_text", "text": "What is it?"},
    {"type": "input_image", "image_url": PICTURE},
]


@pytest.mark.parametrize(
    ("given", "roles"),
    [
        ([message("user", "Say hello.")], ["user"]),
        ([message("system", "You are a pirate."), message("user", "Hi")], ["system", "user"]),
        (
            [
                message("user", "My name is Ann."),
                message("assistant", "Hello Ann!"),
                message("user", "What is my name?"),
            ],
            ["user", "assistant", "user"],
        ),
        (
            [
                message("user", "Go on"),
                message("assistant", "I look into it.", phase="commentary"),
                message("assistant", "It is done.", phase="final_answer"),
                message("user", "Thanks"),
            ],
            ["user", "assistant", "user"],
        ),
        ([message("user", LOOK)], ["user"]),
    ],
    ids=["basic", "system prompt", "multi-turn", "assistant phase", "image"],
)
async def test_an_input_is_answered(
    served: Served, given: list[dict[str, Any]], roles: list[str]
) -> None:
    served.upstream.play(served.upstream.reply("Hello"))
    made = await served.respond(input=given)
    assert made["status"] == "completed"
    assert made["output"][0]["content"][0]["text"] == "Hello"
    assert [each["role"] for each in served.sent] == roles


async def test_the_events_of_a_stream(served: Served) -> None:
    served.upstream.play(served.upstream.reply("One ", "two"))
    body = {"model": "test-model", "input": [message("user", "Count")], "stream": True}
    events = events_of((await served.client.post("/v1/responses", json=body)).text)
    assert [each["type"] for each in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"]["status"] == "completed"
    assert text_in(events) == "One two"


async def test_a_tool_is_called_and_repeated_with_all_its_fields(served: Served) -> None:
    served.upstream.play(called(served.upstream, "weather", [("c1", '{"city": "Ulm"}')]))
    tool = {"type": "function", "name": "weather"}
    made = await served.respond(input=[message("user", "Weather?")], tools=[tool])
    assert made["output"][0]["type"] == "function_call"
    assert made["tools"] == [{**tool, "description": None, "parameters": None, "strict": None}]
