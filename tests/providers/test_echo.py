from typing import Any

import pytest

from proxy import errors
from proxy.providers.base import CompletionRequest, Delta
from proxy.providers.echo import EchoProvider
from tests.support.providers import deltas, joined, request


async def test_the_echo_says_what_it_is_and_repeats_the_last_message_in_pieces() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "reply"},
        {"role": "user", "content": [{"type": "text", "text": "你好 "}, {"type": "image_url"}]},
    ]
    received = await deltas(EchoProvider(delay_seconds=0), CompletionRequest("echo", messages))
    assert received[0] == Delta()
    assert len(received) > 5
    assert joined(received).startswith("This is the built-in echo: no model is configured")
    assert joined(received).endswith("You said:\n\n你好 ")
    assert received[-1].finish_reason == "stop"
    assert received[-1].usage is not None
    assert received[-1].usage.provenance == "estimated"
    assert received[-1].usage.completion_tokens > 0


async def test_a_long_message_comes_in_larger_pieces() -> None:
    asked = request("x" * 1_000_000, model="echo")
    received = await deltas(EchoProvider(delay_seconds=0), asked)
    assert joined(received).endswith("x" * 1_000_000)
    assert len(received) < 300


async def test_the_echo_knows_no_other_model() -> None:
    with pytest.raises(errors.ModelNotFound, match="OPENAI_API_KEY"):
        await deltas(EchoProvider(), request(model="gpt-4o"))


async def test_a_conversation_without_a_user_message_is_echoed_as_nothing() -> None:
    received = await deltas(EchoProvider(delay_seconds=0), CompletionRequest("echo", []))
    assert joined(received).endswith("You said:\n\n")
