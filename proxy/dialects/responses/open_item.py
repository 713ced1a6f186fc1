"""The events of one item of a response, from the one that adds it to the last one."""

from dataclasses import dataclass, field

from proxy.dialects.responses.numbering import NumberedEvents
from proxy.documents.base import Raw


@dataclass(eq=False)
class OpenItem:
    """An item that was added and not done; each method returns the frames of its next events.

    Its `kind` is `r` for reasoning, `t` for text, `c` for a call, `h` for a hosted tool's.
    """

    events: NumberedEvents
    kind: str
    index: int
    item: Raw
    number: int = 0
    """Of a stretch of reasoning: the how manieth it is."""
    summary: bool = False
    """Whether reasoning is told as its own summary."""
    given: str = ""
    """Its text so far."""
    logprobs: list[Raw] = field(default_factory=list)
    """Of its text so far."""

    def added(self, *, has_part: bool) -> bytes:
        """Say that it begins; `has_part` unless nothing of its text is known."""
        frames = self.events.event(
            "response.output_item.added", output_index=self.index, item=_bare(self.item)
        )
        if self.kind in ("r", "t") and has_part:
            frames += self._part("added", "")
        return frames

    def text(self, piece: str, logprobs: list[Raw]) -> bytes:
        """Say a piece of reasoning or text, with the tokens that are told of it."""
        at = self._at()
        if self._is_summary():
            return self.events.delta(
                "response.reasoning_summary_text.delta", piece, **at, summary_index=0
            )
        if self._is_reasoning():
            return self.events.delta("response.reasoning_text.delta", piece, **at, content_index=0)
        return self.events.delta(
            "response.output_text.delta", piece, **at, content_index=0, logprobs=logprobs
        )

    def arguments(self, arguments: str) -> bytes:
        """Say what is new of a call's arguments."""
        if not arguments.startswith(self.given) or arguments == self.given:
            return b""
        delta = arguments[len(self.given) :]
        self.given = arguments
        return self.events.delta("response.function_call_arguments.delta", delta, **self._at())

    def done(self, item: Raw) -> bytes:
        """Say that it has ended, and is `item`."""
        self.item = item
        frames = b""
        kind = item["type"]
        if kind in ("reasoning", "message"):
            # Of reasoning that is sealed there is no text.
            frames += self._text_done(item["content"][0]) if item["content"] else b""
        elif kind == "function_call":
            frames += self.events.event(
                "response.function_call_arguments.done",
                **self._at(),
                name=item["name"],
                arguments=item["arguments"],
            )
        elif kind == "custom_tool_call":
            text, at = item["input"], self._at()
            frames += self.events.delta("response.custom_tool_call_input.delta", text, **at)
            frames += self.events.event("response.custom_tool_call_input.done", **at, input=text)
        return frames + self.events.event(
            "response.output_item.done", output_index=self.index, item=item
        )

    def _text_done(self, part: Raw) -> bytes:
        at, text = self._at(), part["text"]
        if self._is_summary():
            frames = self.events.event(
                "response.reasoning_summary_text.done", **at, summary_index=0, text=text
            )
        elif self._is_reasoning():
            frames = self.events.event(
                "response.reasoning_text.done", **at, content_index=0, text=text
            )
        else:
            frames = self.events.event(
                "response.output_text.done",
                **at,
                content_index=0,
                text=text,
                logprobs=part["logprobs"],
            )
        return frames + self._part("done", text)

    def _part(self, what: str, text: str) -> bytes:
        at = self._at()
        if self._is_summary():
            part: Raw = {"type": "summary_text", "text": text}
            return self.events.event(
                f"response.reasoning_summary_part.{what}", **at, summary_index=0, part=part
            )
        if self._is_reasoning():
            part = {"type": "reasoning_text", "text": text}
        else:
            part = {**self.item["content"][0], "text": text}
        return self.events.event(f"response.content_part.{what}", **at, content_index=0, part=part)

    def _is_reasoning(self) -> bool:
        # What is stored in the end may be another item than the one that was begun.
        return bool(self.item["type"] == "reasoning")

    def _is_summary(self) -> bool:
        return self.summary and self._is_reasoning()

    def _at(self) -> Raw:
        return {"item_id": self.item["id"], "output_index": self.index}


def _bare(item: Raw) -> Raw:
    """Return an item as it stands when it is added: in progress, nothing in it."""
    bare = {**item}
    if "status" in bare:
        bare["status"] = "in_progress"
    for key, empty in (("content", []), ("summary", []), ("arguments", ""), ("input", "")):
        if key in bare:
            bare[key] = empty
    bare.pop("encrypted_content", None)
    return bare
