"""A model behind three protocols at once that answers what it is asked, however often.

The last text of the user says what comes: "Hello" a greeting, "Think" reasoning first,
"Weather" two calls at once and, once their results are there, their number, "Look" what picture
came, "City" JSON where a schema is asked for, "Fail" a failure behind the first word, "Cut" a
text that ends too early.
"""

import asyncio
from typing import Any, NamedTuple

import orjson

from tests.fakes.openai_upstream import chunk
from tests.fakes.poe_upstream import event as poe_event
from tests.fakes.responses_upstream import ResponsesUpstream, call, message, reasoning
from tests.fakes.scripted import Recorded, Script, Wire, head, script, whole
from tests.support.chat_replies import called, said

CALLS = [("c0", '{"city": "Ulm"}'), ("c1", '{"city": "Bonn"}')]
CITY = '{"name": "Ulm"}'
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8A"
    "AQUBAScY42YAAAAASUVORK5CYII="
)
PAUSE_SECONDS = 0.15
LINK = "https://files.example/image.png"
"""Where Poe keeps the picture that was uploaded."""


class Asked(NamedTuple):
    """What any of the three protocols asks."""

    text: str
    results: list[str]
    """Of tools, behind the last text of the user."""
    pictures: list[str]
    has_schema: bool


async def pause(_: Wire) -> None:
    """Say nothing for a while, in the middle of a greeting: clients live through that."""
    await asyncio.sleep(PAUSE_SECONDS)


class AnsweringModel(ResponsesUpstream):
    """`base_url` speaks chat completions and Responses, `poe_url` Poe's bot protocol."""

    @property
    def poe_url(self) -> str:
        """What `POE_BASE_URL` takes."""
        return self.origin + "/bot/"

    @property
    def upload_url(self) -> str:
        """Where Poe takes files."""
        return self.origin + "/upload"

    def answer_to(self, request: Recorded) -> Script:
        """Answer by the path's protocol."""
        if request.path == "/upload":
            return whole(200, {"attachment_url": LINK, "mime_type": "image/png"})
        body = request.json
        if request.path.endswith("/responses"):
            return self._native(asked_in_items(body))
        if request.path.startswith("/bot/"):
            return self._poe(asked_in_query(body))
        return self._chat(asked_in_messages(body))

    def _native(self, asked: Asked) -> Script:
        if "Weather" in asked.text and not asked.results:
            return self.respond(*(call(id_, "weather", given) for id_, given in CALLS))
        if asked.text == "Fail":
            error = {"code": "server_error", "message": "It broke"}
            return self.respond(message("Hel"), status="failed", error=error)
        if asked.text == "Cut":
            reason = {"reason": "max_output_tokens"}
            return self.respond(message("Hel"), status="incomplete", incomplete_details=reason)
        thought = [reasoning("sealed", "I think")] if "Think" in asked.text else []
        said_whole = self.respond(*thought, message(text_for(asked)))
        if asked.text != "Hello":
            return said_whole
        # Behind the head, the beginning of the response and of its item, and a letter.
        return Script((*said_whole.steps[:4], pause, *said_whole.steps[4:]))

    def _chat(self, asked: Asked) -> Script:
        if "Weather" in asked.text and not asked.results:
            return called(self, "weather", CALLS)
        if asked.text == "Fail":
            return self.texts("Hel") + self.failure()
        if asked.text == "Cut":
            return self.texts("Hel") + chunk(finish_reason="length") + b"data: [DONE]\n\n"
        if asked.text == "Hello":
            return self.texts("Hel") + pause + script(self.text("lo 漢"), self.end())
        return said(self, text_for(asked), "I think" if "Think" in asked.text else "")

    def _poe(self, asked: Asked) -> Script:
        if "Weather" in asked.text and not asked.results:
            return script(
                head(),
                *poe_calls(*((id_, "weather", given) for id_, given in CALLS)),
                poe_event("done", {}),
            )
        if asked.text == "Fail":
            failure = {"text": "It broke", "allow_retry": False}
            return script(head(), poe_event("text", {"text": "Hel"}), poe_event("error", failure))
        if asked.text == "Cut":
            return script(head(), poe_event("text", {"text": "Hel"}))
        thought = "*Thinking...*\n\n> I think\n\n" if "Think" in asked.text else ""
        text = poe_event("text", {"text": thought + text_for(asked)})
        return script(head(), text, poe_event("done", {}))


def poe_calls(*calls: tuple[str, str, str]) -> list[bytes]:
    """The events of calls (id, name, arguments), as Poe's bots tell them."""
    fragments = [
        {
            "index": number,
            "id": id_,
            "type": "function",
            "function": {"name": name, "arguments": given},
        }
        for number, (id_, name, given) in enumerate(calls)
    ]
    chunk = {"choices": [{"delta": {"tool_calls": fragments}, "finish_reason": None}]}
    end = {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}
    return [poe_event("json", chunk), poe_event("json", end)]


def text_for(asked: Asked) -> str:
    """What the model says."""
    if "Weather" in asked.text:
        return f"{len(asked.results)} sunny"
    if "Look" in asked.text:
        return f"I see {', '.join(picture[:31] for picture in asked.pictures)}"
    if "City" in asked.text:
        return CITY if asked.has_schema else "no schema"
    return "Hello 漢"


def _parts(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content or ""}]


def asked_in_items(body: dict[str, Any]) -> Asked:
    """Read a call of Responses."""
    text, results, pictures = "", list[str](), list[str]()
    given = body["input"]
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        if item.get("type", "").endswith("_output"):
            results.append(str(item["output"]))
        elif item.get("role") == "user":
            parts = _parts(item["content"])
            text, results = "".join(part.get("text", "") for part in parts), []
            pictures = [part["image_url"] for part in parts if part["type"] == "input_image"]
    format_ = (body.get("text") or {}).get("format") or {}
    return Asked(text, results, pictures, format_.get("type") == "json_schema")


def asked_in_messages(body: dict[str, Any]) -> Asked:
    """Read a chat completion."""
    text, results, pictures = "", list[str](), list[str]()
    for each in body["messages"]:
        if each["role"] == "tool":
            results.append(str(each["content"]))
        elif each["role"] == "user":
            parts = _parts(each["content"])
            text, results = "".join(part.get("text", "") for part in parts), []
            pictures = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    return Asked(text, results, pictures, "response_format" in body)


def asked_in_query(body: dict[str, Any]) -> Asked:
    """Read a query of Poe's bot protocol."""
    text, results, pictures = "", list[str](), list[str]()
    for each in body["query"]:
        if each["role"] == "tool":
            results += [str(result["content"]) for result in orjson.loads(each["content"])]
        elif each["role"] == "user":
            text, results = each["content"], []
            pictures = [attachment["url"] for attachment in each["attachments"]]
    return Asked(text, results, pictures, has_schema=False)
