"""Pictures that come as data: uploaded for Poe's bots once, or left out with a word."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.errors import UpstreamBadRequest
from proxy.providers.base import CompletionRequest
from proxy.providers.poe import PoeProvider
from proxy.providers.poe_upload import LEFT_OUT, POE_UPLOAD_URL, upload_url
from tests.fakes.poe_upstream import PoeUpstream
from tests.fakes.scripted import whole
from tests.support.providers import KEY, deltas, settings

PNG = b"\x89PNG\r\n\x1a\n"
STORED = {"attachment_url": "https://files.test/abc", "mime_type": "image/png"}


def picture(data: bytes = PNG, kind: str = "image/png") -> dict[str, Any]:
    url = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def asked(*parts: Any) -> CompletionRequest:
    return CompletionRequest("Bot", [{"role": "user", "content": list(parts)}])


@pytest.fixture
async def poe() -> AsyncIterator[PoeUpstream]:
    async with PoeUpstream() as server:
        server.upload = whole(200, STORED)
        yield server.play(server.reply("Hello"))


@pytest.fixture
async def provider(poe: PoeUpstream) -> AsyncIterator[PoeProvider]:
    given = settings(poe_upload_url=f"{poe.origin}/upload")
    provider = PoeProvider(given, base_url=poe.base_url, api_key=KEY)
    yield provider
    await provider.close()


async def test_a_picture_is_uploaded_once(poe: PoeUpstream, provider: PoeProvider) -> None:
    for _ in range(2):
        await deltas(provider, asked({"type": "text", "text": "what?"}, picture()))
    [upload] = poe.uploads
    assert upload.headers["authorization"] == KEY
    assert upload.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b'name="file"; filename="image.png"\r\nContent-Type: image/png\r\n\r\n' in upload.body
    assert PNG in upload.body
    queries = [each.json["query"][0] for each in poe.requests if each.path != "/upload"]
    for query in queries:
        assert query["content"] == "what?"
        [attachment] = query["attachments"]
        assert (attachment["url"], attachment["content_type"], attachment["name"]) == (
            "https://files.test/abc",
            "image/png",
            "image.png",
        )


@pytest.mark.parametrize(
    "part",
    [
        picture(kind="text/html"),
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,!!!"}},
        {"type": "image_url", "image_url": "data:image/png,raw"},
    ],
)
async def test_what_is_no_picture_is_a_word(
    poe: PoeUpstream, provider: PoeProvider, part: Any
) -> None:
    await deltas(provider, asked(part))
    assert poe.uploads == []
    assert poe.requests[0].json["query"][0]["content"] == LEFT_OUT["text"]


@pytest.mark.parametrize("body", [{}, {"attachment_url": 5}, {"attachment_url": "file:///etc"}])
async def test_an_upload_that_fails_costs_the_picture_not_the_turn(
    poe: PoeUpstream, provider: PoeProvider, body: Any
) -> None:
    for answer in (whole(200, body), whole(500, b"no")):
        poe.requests.clear()
        poe.upload = answer
        await deltas(provider, asked(picture()))
        sent = poe.requests[-1].json["query"][0]
        assert (sent["content"], sent["attachments"]) == (LEFT_OUT["text"], [])


async def test_the_key_goes_to_poe_only(poe: PoeUpstream) -> None:
    assert upload_url("https://api.poe.com/bot/", "") == POE_UPLOAD_URL
    assert upload_url(poe.base_url, "") == ""
    provider = PoeProvider(settings(), base_url=poe.base_url, api_key=KEY)
    assert not provider.accepts.data_urls
    with pytest.raises(UpstreamBadRequest):
        await deltas(provider, asked(picture()))
    await provider.close()
