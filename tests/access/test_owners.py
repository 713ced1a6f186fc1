"""A stranger with a key for everything walks all routes with somebody else's ids."""

import asyncio
import importlib
import pkgutil
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi.routing import APIRoute

import proxy.routers
from proxy.database import Database
from tests.conftest import LiveServer, client_of, make_settings, running_app
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.scripted import script, wait
from tests.support.drafts import checkpointed, generate, history, writing
from tests.support.drafts import ended as generations_ended
from tests.support.keys import ADMIN, bearer, make_key
from tests.support.listening_model import Listener
from tests.support.openapi import document
from tests.support.owners import MARKER, UNKNOWN, Things, bodies, everything_of, queries
from tests.support.replies import CONVERSATIONS, MESSAGES, create, provider, stored, streaming

NOT_OF_AN_OWNER = {
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model}"),
    ("POST", "/v1/auth/login"),
    ("POST", "/v1/auth/logout"),
    ("GET", "/v1/auth/me"),
    ("POST", "/v1/users"),
    ("GET", "/v1/users"),
    ("GET", "/v1/status"),
}


def normal(text: str, ids: dict[str, Any]) -> str:
    """An answer without the ids that were asked for and without times."""
    for name, value in ids.items():
        text = re.sub(rf"(?<!\w){re.escape(str(value))}(?!\w)", f"<{name}>", text)
    text = re.sub(r"(?<!\w)(msg|resp)_\d+(_\d+)?(?!\w)", "<item>", text)
    return re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z|req_[0-9a-f]+", "<time>", text)


def test_no_route_hides_from_the_walk() -> None:
    documented = document()["paths"]
    found = 0
    for module in pkgutil.iter_modules(proxy.routers.__path__):
        router = importlib.import_module(f"proxy.routers.{module.name}").router
        if router.include_in_schema:
            for route in router.routes:
                # A WebSocket's messages are requests of a route that is walked.
                if not isinstance(route, APIRoute) or not route.include_in_schema:
                    continue
                operations = (
                    documented.get(f"/v1{route.path_format}", {}) or documented[route.path_format]
                )
                assert {method.lower() for method in route.methods or ()} <= operations.keys(), (
                    route
                )
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
        for path, operations in document()["paths"].items():
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
            "/v1/responses",
            {"model": "echo", "input": "x", "previous_response_id": ids["response_id"]},
            {},
            {},
        ),
        (
            "POST",
            "/v1/responses",
            {"model": "echo", "input": "x", "conversation": {"id": conversation}},
            {},
            {},
        ),
        ("GET", "/v1/conversations", None, {"after": conversation}, {}),
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


def requests(ids: dict[str, Any]) -> list[Sent]:
    """All requests that hold ids, always in the same order."""
    documented = [
        (method.upper(), path)
        for path, operations in document()["paths"].items()
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


ID_NAMES = [name for name in UNKNOWN if name.endswith("_id")]


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody with things of their own, and all requests about them.

    By the name of an id, `with_foreign` has the requests with that id of somebody else.
    """

    things: Things
    own: dict[str, Any]
    foreign: dict[str, Any]
    with_own: list[Sent]
    with_foreign: dict[str, list[Sent]]


async def test_no_id_of_somebody_else_works_among_ones_own(wire: Database) -> None:
    """One foreign id at a time, where everything else is the stranger's: path, body, query."""
    settings = make_settings(api_keys=[ADMIN])
    async with running_app(wire, settings) as app, client_of(app) as client:
        mine = Things(client, await make_key("mine", "own", scopes=["admin"]))
        ids = await mine.make()
        before = await everything_of("mine")
        serial = 0

        async def stranger(foreign: dict[str, Any]) -> Stranger:
            nonlocal serial
            serial += 1
            key = await make_key(f"stranger{serial}", "own", scopes=["admin"])
            things = Things(client, key, f"owned-by-{serial}")
            own = await things.make()
            sent = {name: requests({**own, name: foreign[name]}) for name in ID_NAMES}
            return Stranger(things, own, foreign, requests(own), sent)

        async def send(by: Stranger, number: int, name: str) -> tuple[int, str] | None:
            """The answer to one request with one foreign id; None where it holds no such id."""
            sent = by.with_foreign[name][number]
            if sent == by.with_own[number]:
                return None
            method, url, body, query, headers = sent
            answer = await client.request(
                method, url, json=body, params=query, headers={**by.things.headers, **headers}
            )
            assert MARKER not in normal(answer.text, ids), f"{method} {url} {name}"
            named = {name: by.foreign[name], "filename": by.own["filename"]}
            return answer.status_code, normal(answer.text, named)

        walked = 0
        one, other = await stranger(ids), await stranger(UNKNOWN)
        for number, (method, url, *_) in enumerate(requests(UNKNOWN)):
            for name in ID_NAMES:
                found = await send(one, number, name)
                expected = await send(other, number, name)
                if found is None or expected is None:
                    continue
                where = f"{method} {url} with a foreign {name}: {found} {expected}"
                assert found[0] == expected[0] != 422, where
                assert found[0] == 200 or found[1] == expected[1], where
                walked += 1
                if found[0] == 200 and method != "GET":
                    await finds_nothing_of_others(one.things)
                if found[0] == 200 and method == "DELETE":
                    one, other = await stranger(ids), await stranger(UNKNOWN)
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
