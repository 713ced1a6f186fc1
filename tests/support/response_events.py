"""Reads a stream of Responses as SDKs do, and as the units that its numbers count."""

import json
from typing import Any


def events_of(stream: bytes | str) -> list[dict[str, Any]]:
    """The events of whole frames; the name of each is its type."""
    text = stream.decode() if isinstance(stream, bytes) else stream
    found = []
    for frame in text.split("\n\n"):
        name, _, data = frame.partition("\ndata: ")
        if name.startswith("event: "):
            event = json.loads(data)
            assert name == f"event: {event['type']}"
            found.append(event)
    return found


def units(events: list[dict[str, Any]]) -> dict[int, str]:
    """What stands at every number: an event, or one character of a delta."""
    found: dict[int, str] = {}
    for event in events:
        number = event["sequence_number"]
        if "delta" in event:
            text = event["delta"]
            for offset, character in enumerate(text):
                found[number - len(text) + 1 + offset] = f"{event['type']} {character}"
        else:
            found[number] = json.dumps(event, sort_keys=True)
    return found


def text_in(events: list[dict[str, Any]], kind: str = "output_text") -> str:
    """The joined deltas."""
    return "".join(e["delta"] for e in events if e["type"] == f"response.{kind}.delta")
