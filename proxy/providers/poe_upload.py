"""Pictures that come as data, given to Poe as files: its bot protocol takes links only.

Source: https://creator.poe.com/docs/external-applications/external-application-guide, and
fastapi_poe's `upload_file` for the address and the form.
"""

import asyncio
import base64
import binascii
import hashlib
import logging
import mimetypes
import re
from collections import OrderedDict
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from proxy.errors import UpstreamError
from proxy.providers.upstream import Upstream

log = logging.getLogger(__name__)

POE_HOST = "api.poe.com"
POE_UPLOAD_URL = "https://www.quora.com/poe_api/file_upload_3RD_PARTY_POST"

UPLOAD_SECONDS = 60.0
"""How long one upload may take before the picture is left out."""

MAX_KNOWN = 512
"""Uploaded pictures and their addresses, kept so that a history does not upload them every turn."""

LEFT_OUT = {"type": "text", "text": "[image: it could not be given to Poe]"}

_DATA_URL = re.compile(r"data:(image/[\w.+-]{1,60})(?:;[\w=-]{1,40}){0,3};base64,", re.A)


def upload_url(base_url: str, configured: str) -> str:
    """Return where files go: the setting, else Poe's own address for Poe's own host, else ""."""
    return configured or (POE_UPLOAD_URL if urlsplit(base_url).hostname == POE_HOST else "")


class PoeUploads:
    """The files of one key."""

    def __init__(self, upstream: Upstream, url: str, api_key: str) -> None:
        self._upstream = upstream
        self._url = url
        self._api_key = api_key.strip()
        self._known: OrderedDict[str, dict[str, Any]] = OrderedDict()

    async def as_links(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return messages whose pictures are links; one that cannot be given is named in words."""
        return [await self._message(message) for message in messages]

    async def _message(self, message: dict[str, Any]) -> dict[str, Any]:
        content = message.get("content")
        if not isinstance(content, list) or not any(map(_data_of, content)):
            return message
        return {**message, "content": [await self._part(part) for part in content]}

    async def _part(self, part: Any) -> Any:
        url = _data_of(part)
        if not url:
            return part
        try:
            kind, data, digest = await asyncio.to_thread(_decoded, url)
            image = self._known.get(digest)
            if image is None:
                async with asyncio.timeout(UPLOAD_SECONDS):
                    image = await self._upload(kind, data)
        except (UpstreamError, TimeoutError, ValueError) as error:
            log.info("a picture is not given to Poe: %s", type(error).__name__)
            return LEFT_OUT
        self._known[digest] = image
        self._known.move_to_end(digest)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return {"type": "image_url", "image_url": image}

    async def _upload(self, kind: str, data: bytes) -> dict[str, Any]:
        boundary = uuid4().hex
        name = "image" + (mimetypes.guess_extension(kind) or "")
        head = (
            f"--{boundary}\r\n"
            f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
            f"Content-Type: {kind}\r\n\r\n"
        )
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            # Here, and nowhere else, Poe wants the key without a word in front of it.
            "Authorization": self._api_key,
        }
        body = b"".join((head.encode(), data, f"\r\n--{boundary}--\r\n".encode()))
        response = await self._upstream.request("POST", self._url, body, headers=headers)
        complete = False
        try:
            found = await self._upstream.read_json(response)
            complete = True
        finally:
            self._upstream.finish(response, complete=complete)
        url, told = found.get("attachment_url"), found.get("mime_type")
        if not isinstance(url, str) or not url.startswith(("https://", "http://")):
            raise self._upstream.faults.unreadable()
        return {"url": url, "content_type": told if isinstance(told, str) else kind, "name": name}


def _data_of(part: Any) -> str:
    """Return the data URL of a picture; empty for any other part."""
    if not isinstance(part, dict) or part.get("type") != "image_url":
        return ""
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    return url if isinstance(url, str) and url[:5] == "data:" else ""


def _decoded(url: str) -> tuple[str, bytes, str]:
    """Return the type, the bytes and a hash of a data URL.

    Raises:
        ValueError: it is none of a picture.
    """
    found = _DATA_URL.match(url)
    if found is None:
        raise ValueError("not a picture in base64")
    try:
        data = base64.b64decode(url[found.end() :], validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    return found[1], data, hashlib.sha256(data).hexdigest()
