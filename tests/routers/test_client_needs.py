"""What the published web clients need of lists, errors, prompts and names."""

from typing import Any

import httpx
import pytest

from proxy.database import Database
from tests.conftest import client_of, make_settings, running_app
from tests.fakes.openai_upstream import OpenAIUpstream

LIST = "/v1/chat/conversations"


async def begin(client: httpx.AsyncClient, **fields: Any) -> str:
    made = await client.post(LIST, json=fields)
    assert made.status_code == 200, made.text
    return f"{LIST}/{made.json()['conversation_id']}/messages"


async def test_every_list_takes_fields(client: httpx.AsyncClient) -> None:
    project = (await client.post("/v1/projects", json={"name": "one"})).json()["id"]
    messages = await begin(client, system_prompt="Be kind.")
    file = {"category_id": 1, "filename": "a.md", "content": "text", "project_id": project}
    document = (await client.post("/v1/plan/documents", json=file)).json()["id"]
    await client.post(f"/v1/plan/documents/{document}/tags", json={"tag_name": "x"})
    for path, inner in (
        (messages, "messages"),
        (f"{messages}?limit=5", "messages"),
        ("/v1/projects", ""),
        ("/v1/plan/categories", ""),
        (f"/v1/plan/documents/history?project_id={project}", ""),
        ("/v1/plan/documents/latest", "items"),
        ("/v1/plan/documents/search-by-tags?tags=x", ""),
    ):
        sign = "&" if "?" in path else "?"
        answer = (await client.get(f"{path}{sign}fields=id")).json()
        rows = answer[inner] if inner else answer
        assert rows, path
        assert all(list(row) == ["id"] for row in rows), path
        wrong = await client.get(f"{path}{sign}fields=id,secret")
        assert wrong.status_code == 422
        assert "there is no field 'secret'" in wrong.json()["detail"]


async def test_an_error_has_its_sentence_where_clients_look_for_it(
    client: httpx.AsyncClient,
) -> None:
    for answer in (
        await client.get(f"{LIST}/none"),
        await client.post(LIST, json={"name": 5}),
        await client.get("/nowhere"),
    ):
        body = answer.json()
        assert body["message"] == body["detail"] == body["error"]["message"]


@pytest.mark.parametrize("shown", [True, False])
async def test_a_failed_reply_shows_its_error_as_text_where_it_is_set(
    mock: Database, shown: bool
) -> None:
    async with OpenAIUpstream() as upstream:
        settings = make_settings(openai_base_url=upstream.base_url, show_errors_as_text=shown)
        async with running_app(mock, settings) as app, client_of(app) as client:
            messages = await begin(client)
            upstream.play(upstream.status(400))
            await client.post(messages, json={"content": "hi"})
            for query in ("", "?limit=5"):
                user, reply = (await client.get(messages + query)).json()["messages"]
                assert user["content"] == "hi"
                assert reply["content"] == (reply["error"]["message"] if shown else "")


async def test_a_document_that_is_in_the_prompt_already_is_not_sent_twice(mock: Database) -> None:
    async with OpenAIUpstream() as upstream:
        settings = make_settings(openai_base_url=upstream.base_url)
        async with running_app(mock, settings) as app, client_of(app) as client:
            ids = []
            for text in ("第一份文档的全文", "the second document", "the third"):
                made = await client.post(
                    "/v1/plan/documents",
                    json={"category_id": 5, "filename": f"{text}.md", "content": text},
                )
                ids.append(made.json()["id"])
            messages = await begin(client, system_prompt="Be kind. the third")
            append = "Read:\n第一份文档的全文\n"
            for sent in (append, "Be kind."):
                upstream.play(upstream.whole_reply("ok"), upstream.whole_reply("ok"))
                body = {"content": "hi", "documents": ids, "system_prompt_append": sent}
                assert (await client.post(messages, json=body)).status_code == 200
    first, second = (request.json["messages"][0]["content"] for request in upstream.requests)
    assert first.count("第一份文档的全文") == first.count("the second document\n") == 1
    assert first.count("the third") == second.count("the third") == 1
    assert second.count("Be kind.") == 1
    assert second.count("第一份文档的全文\n") == 1


@pytest.mark.parametrize(
    ("text", "is_stored"),
    [
        ("If the last step's code block is not complete, go on with it.\nElse stop.", False),
        ("  if the LAST step's code block …", False),
        ("What if the last step's code block is wrong?", True),
        ("If the last step's code block" + " x" * 2000, True),
    ],
)
async def test_a_text_that_only_says_to_go_on_is_not_stored(
    client: httpx.AsyncClient, text: str, is_stored: bool
) -> None:
    messages = await begin(client)
    answer = (await client.post(messages, json={"content": text})).json()
    assert (answer["user_message_id"] is not None) is is_stored


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a\nb\r\n c.md", "a b c.md"),
        ("计" * 600 + ".md", "计" * 496 + "….md"),
        ("x" * 501, "x" * 499 + "…"),
        ("a  b.md", "a  b.md"),
    ],
)
async def test_a_name_of_a_file_is_cleaned_and_shortened(
    client: httpx.AsyncClient, given: str, kept: str
) -> None:
    for _ in range(2):
        made = await client.post(
            "/v1/plan/documents", json={"category_id": 5, "filename": given, "content": "x"}
        )
        assert made.json()["filename"] == kept
    assert made.json()["version"] == 2
    found = await client.get("/v1/plan/documents/history?project_id=0")
    assert [document["version"] for document in found.json()] == [2, 1]


async def test_lists_give_only_the_fields_that_are_asked_for(client: httpx.AsyncClient) -> None:
    await begin(client, name="n", system_prompt="long")
    (entry,) = (await client.get(f"{LIST}?fields=id,name, updated_at")).json()
    assert set(entry) == {"id", "name", "updated_at"}
    (entry,) = (await client.get(f"{LIST}?fields=")).json()
    assert entry["system_prompt"] == "long"
    groups = (await client.get(f"{LIST}/grouped?fields=conversation_id,project_name")).json()
    assert set(groups["其它"][0]) == {"conversation_id", "project_name"}
    wrong = await client.get(f"{LIST}?fields=id,nope")
    assert wrong.status_code == 422
    assert "'nope'" in wrong.json()["detail"]


async def test_large_answers_are_compressed_and_streams_are_not(client: httpx.AsyncClient) -> None:
    messages = await begin(client, system_prompt="源码 source " * 10_000)
    for path in (LIST, messages):
        packed = await client.get(path, headers={"Accept-Encoding": "gzip"})
        plain = await client.get(path, headers={"Accept-Encoding": "identity"})
        assert packed.headers["content-encoding"] == "gzip"
        assert "content-encoding" not in plain.headers
        assert packed.json() == plain.json()
    small = await client.get("/v1/projects", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in small.headers
    body = {"content": "long " * 3000, "stream": True}
    stream = await client.post(messages, json=body, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in stream.headers
    assert stream.text.endswith("data: [DONE]\n\n")


async def test_no_cache_keeps_an_answer_of_the_api(client: httpx.AsyncClient) -> None:
    assert "*" in (await client.get(LIST)).headers["vary"]
    assert "*" not in (await client.get("/health")).headers.get("vary", "")
    # No cache keeps what is no GET.
    assert "vary" not in (await client.post("/v1/projects", json={})).headers
