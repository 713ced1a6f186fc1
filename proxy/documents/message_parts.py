"""What a message holds besides its text: pictures, sounds, files, and how a person gets at them."""

import base64
import binascii
import re
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson

from proxy.documents.chat_message import is_text_part
from proxy.documents.message import StoredMessage, payload_of

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w-]+=[^;,]*)*(;base64)?,", re.ASCII)

SHOWN_TYPES = frozenset(
    {"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "audio/mpeg", "audio/wav"}
    | {"audio/ogg", "audio/flac", "video/mp4", "application/pdf"}
)
"""Content types that a browser may show; whatever else a model sent is a download."""

MAX_LINK_CHARACTERS = 4096


def parts_of(message: StoredMessage) -> list[dict[str, Any]]:
    """Return the parts of a stored message that are no text, in order."""
    payload = payload_of(message) or {}
    content, images, audio = payload.get("content"), payload.get("images"), payload.get("audio")
    parts = [part for part in _as_list(content) if not is_text_part(part)] + _as_list(images)
    found = [part for part in parts if isinstance(part, dict)]
    if isinstance(audio, dict):
        found.append({"type": "audio", "audio": audio})
    return found


def address_of(part: dict[str, Any]) -> str:
    """Return the URL of a picture or file, `data:` URLs included; empty where there is none."""
    for key in ("image_url", "video_url", "file_url", "file", "image", "url"):
        value = part.get(key)
        if isinstance(value, dict):
            value = value.get("url") or value.get("file_data")
        if isinstance(value, str) and value:
            return value
    return ""


def is_link(url: str) -> bool:
    """Tell whether a URL is one that a person can follow."""
    return url.startswith(("https://", "http://")) and len(url) <= MAX_LINK_CHARACTERS


def as_markdown(part: dict[str, Any], message_id: int, number: int) -> str:
    """Show a part in a text: its own link, or that of `GET …/messages/{id}/parts/{number}`."""
    kind = str(part.get("type") or "file").removesuffix("_url").replace("input_", "")
    kind = re.sub(r"[^\w .-]", "", kind)[:40] or "file"
    url = address_of(part)
    if is_link(url):
        url = url.replace(" ", "%20").replace("(", "%28").replace(")", "%29")
    elif message_id > 0:
        url = f"/v1/chat/messages/{message_id}/parts/{number}"
    else:
        # Of a reply that nobody keeps; the part itself is in the answer.
        return ""
    return f"{'!' if kind == 'image' else ''}[{kind}]({url})"


def content_of(part: dict[str, Any]) -> tuple[bytes, str]:
    """Return the bytes of a part and their content type; a part of another kind is its JSON."""
    url = address_of(part)
    if found := _DATA_URL.match(url):
        kind, is_base64 = found.groups()
        data = url[found.end() :]
        try:
            raw = base64.b64decode(data, validate=False) if is_base64 else unquote_to_bytes(data)
        except (binascii.Error, ValueError):
            raw = data.encode()
        return raw, (kind or "").lower()
    for key in ("input_audio", "audio"):
        sound = part.get(key)
        if isinstance(sound, dict) and isinstance(sound.get("data"), str):
            try:
                raw = base64.b64decode(sound["data"], validate=False)
            except (binascii.Error, ValueError):
                break
            format_ = sound.get("format", "wav")
            return raw, {"mp3": "audio/mpeg"}.get(str(format_), f"audio/{format_}")
    return orjson.dumps(part), "application/json"


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
