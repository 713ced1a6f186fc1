"""A stranger with a key for everything walks all routes with somebody else's ids."""

import asyncio
import importlib
import pkgutil
import re
from collections.abc import Sequence
from typing import Any

import httpx

import proxy.routers
from proxy.app import create_app
from proxy.database import Database
from proxy.documents.base import Owned
from tests.conftest import LiveServer, client_of, make_settings, running_app
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.scripted import script, wait
from tests.plans.test_drafts import checkpointed, generate, history, writing
from tests.plans.test_drafts import ended as generations_ended
from tests.support.keys import ADMIN, bearer, make_key
from tests.support.listening_model import Listener
from tests.support.replies import CONVERSATIONS, MESSAGES, create, provider, stored, streaming

MARKER = "belongs-to-mine"

UNKNOWN: dict[str, Any] = {
    "conversation_id": "00000000-0000-4000-8000-000000000000",
    "message_id": 987654321,
    "project_id": 987654322,
    "category_id": 987654323,
    "document_id": 987654324,
    "tag_name": f"{MARKER}-tag",
    "key_id": "key_00000000000000000000000000000000",
    "model": "no-such-model",
    "filename": f"{MARKER}.md",
}

NOT_OF_AN_OWNER = {
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model}"),
    ("POST", "/v1/auth/login"),
    ("POST", "/v1/auth/logout"),
    ("GET", "/v1/auth/me"),
}


def bodies(ids: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """A valid body of every route that takes one, holding these ids wherever it can."""
    conversation, document = "/v1/chat/conversations", "/v1/plan/documents"
    file = {key: ids[key] for key in ("project_id", "category_id", "filename")}
    references = {"document_ids": [ids["document_id"]]}
    return {
        ("POST", conversation): {"project_id": ids["project_id"]},
        ("PUT", conversation + "/{conversation_id}"): {"name": "taken over"},
        ("POST", conversation + "/{conversation_id}/messages"): {
            "content": "taken over",
            "documents": [ids["document_id"]],
        },
        ("POST", conversation + "/{conversation_id}/document-references"): references,
        ("DELETE", conversation + "/{conversation_id}/document-references"): references,
        ("POST", conversation + "/import"): {
            "format": "poe-openai-proxy.conversation",
            "version": 1,
            "id": ids["conversation_id"],
            "conversation": {
                "project_id": ids["project_id"],
                "created_at": "2026-01-01T00:00:00Z",
                "updated_at": "2026-01-01T00:00:00Z",
            },
            "messages": [
                {
                    "id": ids["message_id"],
                    "role": "user",
                    "content": "taken over",
                    "created_at": "2026-01-01T00:00:00Z",
                    "updated_at": "2026-01-01T00:00:00Z",
                }
            ],
        },
        ("POST", "/v1/chat/stop-stream"): {"session_id": str(ids["message_id"])},
        ("POST", "/v1/chat/messages/delete"): {"message_ids": [ids["message_id"]]},
        ("PUT", "/v1/chat/messages/{message_id}"): {"content": "taken over"},
        ("POST", "/v1/chat/messages/{message_id}/regenerate"): {},
        ("POST", "/v1/chat/completions"): {
            "model": "echo",
            "messages": [{"role": "user", "content": "taken over"}],
            "conversation": ids["conversation_id"],
        },
        ("POST", "/v1/projects"): {"name": "theirs"},
        ("PUT", "/v1/projects/{project_id}"): {"name": "taken over"},
        ("POST", "/v1/projects/{project_id}/document-references"): references,
        ("DELETE", "/v1/projects/{project_id}/document-references"): references,
        ("POST", "/v1/plan/categories"): {"name": "theirs", "prompt_template": "{doc}"},
        ("PUT", "/v1/plan/categories/{category_id}"): {"name": "taken over"},
        ("POST", document): {**file, "content": "taken over"},
        ("PUT", document + "/{document_id}"): {"content": "taken over"},
        ("POST", document + "/{document_id}/tags"): {"tag_name": "taken over"},
        ("POST", document + "/{document_id}/tags:batch"): {"add": ["taken over"], "remove": []},
        ("POST", document + "/merge"): references,
        ("POST", document + "/migrate/all-history"): {
            "project_id": ids["project_id"],
            "source_category_id": ids["category_id"],
            "target_category_id": 1,
            "filename": ids["filename"],
        },
        ("POST", document + "/migrate/from-current"): {
            "document_id": ids["document_id"],
            "target_category_id": 1,
        },
        ("POST", document + "/generate"): {
            **file,
            "conversation_id": ids["conversation_id"],
        },
        ("POST", "/v1/keys"): {"name": "theirs", "owner": "mine"},
    }


def queries(ids: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The query of every route that needs one."""
    file = {key: ids[key] for key in ("project_id", "category_id", "filename")}
    references = {"document_id": ids["document_id"]}
    return {
        ("DELETE", "/v1/plan/documents"): file,
        ("GET", "/v1/plan/documents/history"): file,
        ("GET", "/v1/plan/documents/latest"): {"query": MARKER},
        ("GET", "/v1/plan/documents/search-by-tags"): {"tags": ids["tag_name"]},
        ("GET", "/v1/plan/documents/{document_id}/diff"): {"against": ids["document_id"]},
        ("DELETE", "/v1/chat/conversations/{conversation_id}/document-references"): references,
        ("DELETE", "/v1/projects/{project_id}/document-references"): references,
    }


class Things:
    """What an owner has, each made over HTTP; every text says whose it is."""

    def __init__(self, client: httpx.AsyncClient, key: str, marker: str = MARKER) -> None:
        self.client = client
        self.marker = marker
        self.headers = bearer(key)

    async def post(self, path: str, body: Any) -> Any:
        response = await self.client.post(path, json=body, headers=self.headers)
        assert response.status_code == 200, response.text
        return response.json()

    async def make(self) -> dict[str, Any]:
        marker = self.marker
        project = await self.post("/v1/projects", {"name": marker, "llm_url": marker})
        category = await self.post(
            "/v1/plan/categories",
            {"name": marker, "prompt_template": marker, "message_method": "PlanGetRequest"},
        )
        file = {
            "project_id": project["id"],
            "category_id": category["id"],
            "filename": f"{marker}.md",
        }
        for version in range(2):
            document = await self.post(
                "/v1/plan/documents", {**file, "content": f"{marker} {version}"}
            )
        tag = f"{marker}-tag"
        await self.post(f"/v1/plan/documents/{document['id']}/tags", {"tag_name": tag})
        conversation = await self.post(
            "/v1/chat/conversations",
            {"name": marker, "system_prompt": marker, "project_id": project["id"]},
        )
        path = f"/v1/chat/conversations/{conversation['conversation_id']}"
        reply = await self.post(f"{path}/messages", {"content": marker, "model": "echo"})
        references = {"document_ids": [document["id"]]}
        await self.post(f"/v1/projects/{project['id']}/document-references", references)
        key = await self.post("/v1/keys", {"name": marker})
        return {
            **UNKNOWN,
            **file,
            "conversation_id": conversation["conversation_id"],
            "message_id": reply["assistant_message_id"],
            "document_id": document["id"],
            "tag_name": tag,
            "key_id": key["id"],
        }


async def everything_of(owner: str) -> dict[str, Any]:
    """All stored documents of an owner."""
    found = {}
    for document in Owned.__subclasses__():
        if document.__name__ != "Usage":
            cursor = document.collection().find({"owner": owner}).sort("_id", 1)
            found[document.__name__] = [raw async for raw in cursor]
    return found


def normal(text: str, ids: dict[str, Any]) -> str:
    """An answer without the ids that were asked for and without times."""
    for name, value in ids.items():
        text = re.sub(rf"(?<!\w){re.escape(str(value))}(?!\w)", f"<{name}>", text)
    return re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z|req_[0-9a-f]+", "<time>", text)


def test_no_route_hides_from_the_walk() -> None:
    documented = create_app(make_settings()).openapi()["paths"]
    found = 0
    for module in pkgutil.iter_modules(proxy.routers.__path__):
        router = importlib.import_module(f"proxy.routers.{module.name}").router
        if router.include_in_schema:
            for route in router.routes:
                operations = (
                    documented.get(f"/v1{route.path_format}", {}) or documented[route.path_format]
                )
                assert {method.lower() for method in route.methods} <= operations.keys(), route
                found += 1
    assert found == sum(map(len, documented.values()))


async def test_a_stranger_finds_out_nothing_and_changes_nothing(wire: Database) -> None:
    settings = make_settings(api_keys=[ADMIN])
    async with running_app(wire, settings) as app, client_of(app) as client:
        mine = Things(client, await make_key("mine", "own", scopes=["admin"]))
        stranger = bearer(await make_key("stranger", "own", scopes=["admin"]))
        another = bearer(await make_key("another", "own", scopes=["admin"]))
        ids = await mine.make()
        before = await everything_of("mine")
        assert all(before[name] for name in ("Conversation", "Project", "PlanDocument", "ApiKey"))

        async def ask(
            method: str, path: str, with_ids: dict[str, Any], headers: dict[str, str]
        ) -> httpx.Response:
            return await client.request(
                method,
                path.format(**with_ids),
                json=bodies(with_ids).get((method, path)),
                params=queries(with_ids).get((method, path)),
                headers=headers,
            )

        walked = 0
        for path, operations in app.openapi()["paths"].items():
            for method_ in operations:
                method = method_.upper()
                if not path.startswith("/v1/") or (method, path) in NOT_OF_AN_OWNER:
                    continue
                needs_body = operations[method_].get("requestBody", {}).get("required")
                assert not needs_body or (method, path) in bodies(ids), f"add a body: {path}"
                unknown = await ask(method, path, UNKNOWN, another)
                answer = await ask(method, path, ids, stranger)
                where = f"{method} {path}"
                assert answer.status_code == unknown.status_code, where
                assert unknown.status_code != 422, f"{where}: the body is wrong: {unknown.text}"
                if answer.status_code != 200:
                    assert normal(answer.text, ids) == normal(unknown.text, UNKNOWN), where
                if "{" in path:
                    assert answer.status_code in (404, 200), where
                assert MARKER not in normal(answer.text, ids), where
                walked += 1
        assert walked > 40
        assert await everything_of("mine") == before

        listed = await client.get("/v1/chat/conversations", headers=mine.headers)
        assert [entry["id"] for entry in listed.json()] == [ids["conversation_id"]]


Sent = tuple[str, str, Any, dict[str, Any], dict[str, str]]


def further(ids: dict[str, Any]) -> list[Sent]:
    """Requests whose ids are where no route needs one: method, path, body, query, headers."""
    file = {key: ids[key] for key in ("project_id", "category_id", "filename")}
    conversations, documents = "/v1/chat/conversations", "/v1/plan/documents"
    conversation, message = ids["conversation_id"], ids["message_id"]
    here = f"{conversations}/{conversation}"
    completion = {"model": "echo", "messages": [{"role": "user", "content": "taken over"}]}
    migration = {"source_category_id": 1, "target_category_id": ids["category_id"]}
    attach: dict[str, Any] = {"attach": {"source_code": {}}}
    return [
        ("PUT", here, {"project_id": ids["project_id"]}, {}, {}),
        ("GET", f"{here}/messages", None, {"before": message, "limit": 5}, {}),
        ("POST", f"{here}/messages", {"content": "x", **attach}, {}, {"Idempotency-Key": "k"}),
        ("POST", "/v1/chat/completions", completion, {}, {"X-Conversation-Id": conversation}),
        (
            "POST",
            "/v1/chat/completions",
            {**completion, "metadata": {"conversation": conversation}},
            {},
            {},
        ),
        ("GET", conversations, None, {"project_id": ids["project_id"]}, {}),
        (
            "POST",
            "/v1/plan/categories",
            {"name": "saves elsewhere", "auto_save_category_id": ids["category_id"]},
            {},
            {},
        ),
        (
            "PUT",
            f"/v1/plan/categories/{ids['category_id']}",
            {"auto_save_category_id": ids["category_id"]},
            {},
            {},
        ),
        (
            "POST",
            f"{documents}/generate",
            {**file, "conversation_id": conversation, "message_ids": [message]},
            {},
            {},
        ),
        ("POST", f"{documents}/generate", {**file, "document_ids": [ids["document_id"]]}, {}, {}),
        ("POST", f"{documents}/generate", {**file, "content": "x"}, {}, {}),
        (
            "POST",
            f"{documents}/migrate/all-history",
            {"project_id": ids["project_id"], "filename": ids["filename"], **migration},
            {},
            {},
        ),
        (
            "POST",
            f"{documents}/migrate/from-current",
            {"document_id": ids["document_id"], "target_category_id": ids["category_id"]},
            {},
            {},
        ),
        (
            "GET",
            f"{documents}/latest",
            None,
            {"project_id": ids["project_id"], "category_id": ids["category_id"]},
            {},
        ),
        (
            "GET",
            f"{documents}/search-by-tags",
            None,
            {"project_id": ids["project_id"], "tags": ids["tag_name"]},
            {},
        ),
    ]


def requests(app: Any, ids: dict[str, Any]) -> list[Sent]:
    """All requests that hold ids, always in the same order."""
    documented = [
        (method.upper(), path)
        for path, operations in app.openapi()["paths"].items()
        for method in operations
        if path.startswith("/v1/") and (method.upper(), path) not in NOT_OF_AN_OWNER
    ]
    sent, asked = bodies(ids), queries(ids)
    return [
        *(
            (place[0], place[1].format(**ids), sent.get(place), asked.get(place, {}), {})
            for place in documented
        ),
        *further(ids),
    ]


async def test_no_id_of_somebody_else_works_among_ones_own(wire: Database) -> None:
    """One foreign id at a time, where everything else is the stranger's: path, body, query."""
    settings = make_settings(api_keys=[ADMIN])
    async with running_app(wire, settings) as app, client_of(app) as client:
        mine = Things(client, await make_key("mine", "own", scopes=["admin"]))
        ids = await mine.make()
        before = await everything_of("mine")
        serial = 0

        async def stranger() -> tuple[Things, dict[str, Any]]:
            nonlocal serial
            serial += 1
            key = await make_key(f"stranger{serial}", "own", scopes=["admin"])
            things = Things(client, key, f"owned-by-{serial}")
            return things, await things.make()

        async def send(
            things: Things, own: dict[str, Any], number: int, name: str, foreign: dict[str, Any]
        ) -> tuple[int, str] | None:
            """The answer to one request with one foreign id; None where it holds no such id."""
            sent = requests(app, {**own, name: foreign[name]})[number]
            if sent == requests(app, own)[number]:
                return None
            method, url, body, query, headers = sent
            answer = await client.request(
                method, url, json=body, params=query, headers={**things.headers, **headers}
            )
            assert MARKER not in normal(answer.text, ids), f"{method} {url} {name}"
            named = {name: foreign[name], "filename": own["filename"]}
            return answer.status_code, normal(answer.text, named)

        walked = 0
        one, other = await stranger(), await stranger()
        for number, (method, url, *_) in enumerate(requests(app, UNKNOWN)):
            for name in (name for name in UNKNOWN if name.endswith("_id")):
                found = await send(*one, number, name, ids)
                expected = await send(*other, number, name, UNKNOWN)
                if found is None or expected is None:
                    continue
                where = f"{method} {url} with a foreign {name}: {found} {expected}"
                assert found[0] == expected[0] != 422, where
                assert found[0] == 200 or found[1] == expected[1], where
                walked += 1
                if found[0] == 200 and method != "GET":
                    await finds_nothing_of_others(one[0])
                if found[0] == 200 and method == "DELETE":
                    one, other = await stranger(), await stranger()
        assert walked > 80
        assert await everything_of("mine") == before


async def finds_nothing_of_others(things: Things) -> None:
    for path in (
        "/v1/chat/conversations",
        "/v1/chat/conversations/grouped",
        "/v1/projects",
        "/v1/plan/categories",
        "/v1/plan/documents/latest",
        "/v1/keys",
        "/v1/usage?group_by=project",
    ):
        answer = await things.client.get(path, headers=things.headers)
        assert answer.status_code == 200, answer.text
        assert MARKER not in answer.text, path


async def neither_read_nor_ended(
    clients: Sequence[httpx.AsyncClient], stranger: dict[str, str], session: int
) -> None:
    """On no worker, and told in the words that an unknown id gets."""
    unknown = UNKNOWN["message_id"]
    for client in clients:
        for method, path, body in (
            ("POST", "/v1/chat/stop-stream", {"session_id": "{id}"}),
            ("POST", MESSAGES + "/{id}/stop", None),
            ("GET", MESSAGES + "/{id}/stream", None),
            ("GET", MESSAGES + "/{id}", None),
            ("PUT", MESSAGES + "/{id}", {"content": "x"}),
            ("POST", MESSAGES + "/{id}/regenerate", {}),
        ):
            told = []
            for id_ in (session, unknown):
                sent = {name: value.format(id=id_) for name, value in (body or {}).items()}
                answer = await client.request(
                    method, path.format(id=id_), json=sent, headers=stranger
                )
                assert answer.status_code == 404, (method, path)
                told.append(normal(answer.text, {"id": id_}))
            assert told[0] == told[1], (method, path)
        answer = await client.post(
            f"{MESSAGES}/delete", json={"message_ids": [session]}, headers=stranger
        )
        assert answer.json() == {"message": "0 messages deleted"}


async def test_a_stranger_neither_reads_nor_ends_a_running_reply(
    wire: Database, live: LiveServer
) -> None:
    go_on = asyncio.Event()
    async with OpenAIUpstream() as openai:
        openai.play(openai.texts("Hel") + wait(go_on) + script(openai.text("lo")) + openai.end())
        options: dict[str, Any] = {"providers": [provider(openai)], "api_keys": [ADMIN]}
        async with live(**options) as here, live(**options) as there:
            here.headers.update(bearer(await make_key("mine")))
            stranger = bearer(await make_key("stranger"))
            id_ = await create(here)
            async with streaming(here, id_) as stream:
                await stream.until("Hel")
                message = stream.message_id
                await neither_read_nor_ended((here, there), stranger, message)
                for client in (here, there):
                    answer = await client.delete(f"{CONVERSATIONS}/{id_}", headers=stranger)
                    assert answer.status_code == 404
                go_on.set()
                await stream.rest()
                assert stream.text == "Hello"
            assert (await stored(here, message))["status"] == "complete"


async def test_a_stranger_neither_reads_nor_ends_a_plan_document_that_is_written(
    wire: Database, live: LiveServer
) -> None:
    listener = Listener("# 计划\n", "第一步")
    listener.gate.clear()
    options: dict[str, Any] = {"providers": [listener], "api_keys": [ADMIN]}
    async with (
        live(**options, checkpoint_seconds=0.1) as here,
        live(**options) as there,
    ):
        here.headers.update(bearer(await make_key("mine")))
        stranger = bearer(await make_key("stranger"))
        async with writing(here, key="mine and theirs") as session:
            await checkpointed(session)
            await neither_read_nor_ended((here, there), stranger, int(session))
            there.headers.update(stranger)
            own = asyncio.create_task(generate(there, "mine and theirs"))
            while len(listener.requests) < 2:  # noqa: ASYNC110 - a key is its owner's own
                await asyncio.sleep(0.02)
            listener.gate.set()
            assert (await own).status_code == 200
            await generations_ended(here)
        for client in (here, there):
            (document,) = await history(client)
            assert document["content"] == "# 计划\n第一步"
