"""Answers of an upstream that knows chat completions: text with reasoning, calls of a tool."""

from tests.fakes.openai_upstream import OpenAIUpstream, chunk, usage_chunk
from tests.fakes.scripted import Script


def said(upstream: OpenAIUpstream, text: str, thought: str = "") -> Script:
    """A stream of a text."""
    thoughts = [chunk({"reasoning_content": thought})] if thought else []
    return upstream.chunks(*thoughts, chunk({"content": text}), upstream.end())


def called(upstream: OpenAIUpstream, name: str, calls: list[tuple[str, str]]) -> Script:
    """A stream of calls (their ids and arguments) of one function."""
    fragments = [
        {"index": n, "id": id_, "type": "function", "function": {"name": name, "arguments": said}}
        for n, (id_, said) in enumerate(calls)
    ]
    return upstream.chunks(
        chunk({"tool_calls": fragments}),
        chunk(finish_reason="tool_calls"),
        usage_chunk(),
        b"data: [DONE]\n\n",
    )
