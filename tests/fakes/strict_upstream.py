"""An upstream that refuses what OpenAI, DeepSeek, Anthropic and alternating templates refuse."""

import json
from typing import Any, Literal

from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.scripted import Recorded, Script

Kind = Literal["openai", "deepseek", "anthropic", "template"]

OPENAI_KEYS = {"role", "content", "name", "tool_calls", "tool_call_id", "refusal", "audio"}


class StrictUpstream(OpenAIUpstream):
    """Answers `ok` to a history that its kind takes, else a 400 that says what is wrong."""

    kind: Kind = "openai"

    def answer_to(self, request: Recorded) -> Script:
        """What is played for a chat request."""
        wrong = wrong_in(request.json["messages"], self.kind)
        return self.status(400, wrong) if wrong else self.reply("ok")


def wrong_in(  # noqa: PLR0911, PLR0912 - a list of what is refused
    messages: list[dict[str, Any]], kind: Kind
) -> str:
    """What this kind of provider refuses in a history; empty where it takes it."""
    waiting: list[str] = []
    previous = ""
    for number, message in enumerate(messages):
        role, content = message["role"], message.get("content")
        at = f"messages[{number}]"
        if role not in ("system", "user", "assistant", "tool", "developer"):
            return f"{at}: unknown role"
        if role == "developer" and kind != "openai":
            return f"{at}: developer"
        if any(key.startswith("@") for key in message):
            return f"{at}: a key of our own"
        if kind == "openai" and message.keys() - OPENAI_KEYS:
            return f"{at}: unknown keys {sorted(message.keys() - OPENAI_KEYS)}"
        calls = message.get("tool_calls") or []
        if role == "tool":
            if message.get("tool_call_id") not in waiting:
                return f"{at}: a result without its call"
            waiting.remove(message["tool_call_id"])
        elif waiting:
            return f"{at}: no result of {waiting}"
        if not content and not calls:
            return f"{at}: empty"
        if isinstance(content, list):
            if role != "user" and kind == "openai" and any(p["type"] != "text" for p in content):
                return f"{at}: only a question may hold pictures"
            if any(part["type"] == "text" and not part["text"] for part in content):
                return f"{at}: an empty text part"
        elif content is not None and not isinstance(content, str):
            return f"{at}: content"
        for call in calls:
            if call["type"] == "function" and not _is_object(call["function"]["arguments"]):
                return f"{at}: arguments are no object"
            waiting.append(call["id"])
        if kind == "deepseek":
            if calls and not message.get("reasoning_content"):
                return f"{at}: reasoning_content is missing"
            if role == "assistant" and not calls and "reasoning_content" in message:
                return f"{at}: reasoning_content without calls"
        if kind in ("anthropic", "template"):
            if role == "system" and number:
                return f"{at}: system in the middle"
            if role == previous and role in ("user", "assistant"):
                return f"{at}: roles must alternate"
            if role == "assistant" and previous in ("", "system"):
                return f"{at}: must begin with a question"
        previous = role
    return f"no result of {waiting}" if waiting else ""


def _is_object(text: Any) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (TypeError, ValueError):
        return False
