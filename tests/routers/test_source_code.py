"""`GET /v1/projects/{id}/complete-source-code`."""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.database import Database
from proxy.documents.source_manifest import AnsweredDigest
from proxy.tokenizer.tokens import count_tokens
from tests.conftest import client_of, make_settings, running_app


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "projects" / "shop"
    (root / "build").mkdir(parents=True)
    (root / ".gitignore").write_text("build/\n")
    (root / "main.py").write_text("import os\n\nprint('你好 \U0001f600')\n")
    (root / "读我.md").write_text("# 说明\n")
    (root / "build" / "x").write_text("x")
    (root / "logo.png").write_bytes(b"\0")
    return root


@pytest.fixture
async def api(mock: Database, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    settings = make_settings(source_roots=[tmp_path / "projects"])
    async with running_app(mock, settings) as app, client_of(app) as client:
        yield client


async def create(api: httpx.AsyncClient, directory: Any = None) -> str:
    fields = {"name": f"p{os.urandom(4).hex()}"}
    if directory is not None:
        fields["ai_work_dir"] = str(directory)
    answer = await api.post("/v1/projects", json=fields)
    assert answer.status_code == 200, answer.text
    return f"/v1/projects/{answer.json()['id']}/complete-source-code"


async def test_the_source_of_a_project_is_one_text(api: httpx.AsyncClient, tree: Path) -> None:
    answer = await api.get(await create(api, tree))

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    text = body["completeSourceCode"]
    assert "import os\n\nprint('你好 \U0001f600')\n" in text
    assert [file["path"] for file in body["files"]] == [".gitignore", "main.py", "读我.md"]
    assert body["skipped"] == [
        {"path": "build/", "reason": "ignored directory"},
        {"path": "logo.png", "reason": "binary"},
    ]
    assert body["total_bytes"] == len(text.encode())
    assert body["total_tokens"] == count_tokens(text)
    assert body["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert body["tokenizer"] == "o200k_base"
    assert body["since"] is None
    assert "你好" in answer.text, "Chinese must not be escaped"


async def test_plain_text_streams_the_text_itself(api: httpx.AsyncClient, tree: Path) -> None:
    (tree / "large.txt").write_text("中文🙂a" * 200_000)
    url = await create(api, tree)
    whole = (await api.get(url)).json()

    answer = await api.get(url, headers={"Accept": "text/plain"})

    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == whole["completeSourceCode"]
    assert answer.headers["content-length"] == str(whole["total_bytes"])
    assert answer.headers["x-total-tokens"] == str(whole["total_tokens"])
    assert answer.headers["x-skipped"] == "2"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("text/*", "text/plain"),
        ("application/json;q=0.5, text/plain", "text/plain"),
        ("text/plain;q=nonsense", "application/json"),
    ],
)
async def test_the_client_says_which_type_it_wants(
    api: httpx.AsyncClient, tree: Path, accept: str, kind: str
) -> None:
    answer = await api.get(await create(api, tree), headers={"Accept": accept})

    assert answer.headers["content-type"].startswith(kind)


async def test_an_unchanged_source_is_a_304(api: httpx.AsyncClient, tree: Path) -> None:
    url = await create(api, tree)
    first = await api.get(url)
    etag = first.headers["etag"]

    for wanted in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        again = await api.get(url, headers={"If-None-Match": wanted})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
    as_text = await api.get(url, headers={"If-None-Match": etag, "Accept": "text/plain"})
    assert as_text.status_code == 200, "another representation"
    assert (await api.get(f"{url}?lines=true", headers={"If-None-Match": etag})).status_code == 200

    (tree / "main.py").write_text("changed\n")
    after = await api.get(url, headers={"If-None-Match": etag})
    assert after.status_code == 200
    assert after.headers["etag"] != etag


async def test_every_choice_is_a_query_parameter(api: httpx.AsyncClient, tree: Path) -> None:
    url = await create(api, tree)

    async def text(**params: Any) -> str:
        answer = await api.get(url, params=params)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["completeSourceCode"])

    assert json.loads(await text(format="json"))["files"][0]["path"] == ".gitignore"
    assert (await text(format="xml")).startswith("<source>\n<file path")
    assert "```py\nimport os" in await text(format="markdown")
    assert "1\timport os\n2\t\n" in await text(lines="true")
    assert (await text(tree="only")).startswith(".\n├── .gitignore\n├── main.py\n")
    assert (await text(tree="true")).startswith(".\n├── .gitignore\n")
    assert await text(include=["*.md", "nothing"]) == (
        "======== 读我.md (9 bytes) ========\n# 说明\n========\n\n"
    )
    assert "读我" not in await text(exclude=["*.md", ".gitignore"])
    assert await text(include=["#comment"]) == ""
    assert await text(include="", exclude="", since="", tree="") == await text()
    assert count_tokens(await text(max_tokens=40)) <= 40


@pytest.mark.parametrize(
    "query",
    [
        "format=pdf",
        "max_tokens=0",
        "max_tokens=x",
        "tree=maybe",
        "lines=perhaps",
        "include=" + "x" * 1001,
        "&".join(["exclude=x"] * 101),
        "since=" + "x" * 201,
    ],
)
async def test_a_wrong_choice_is_a_422(api: httpx.AsyncClient, tree: Path, query: str) -> None:
    answer = await api.get(f"{await create(api, tree)}?{query}")

    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)


async def test_a_budget_below_the_tree_is_a_400(api: httpx.AsyncClient, tree: Path) -> None:
    answer = await api.get(f"{await create(api, tree)}?tree=true&max_tokens=3")

    assert answer.status_code == 400


async def test_since_sends_only_what_changed(api: httpx.AsyncClient, tree: Path) -> None:
    url = await create(api, tree)
    first = await api.get(url, headers={"Accept": "text/plain"})
    etag = first.headers["etag"]
    (tree / "main.py").write_text("changed\n")
    (tree / "读我.md").unlink()

    changed = (await api.get(url, params={"since": etag})).json()

    assert [file["path"] for file in changed["files"]] == ["main.py"]
    assert changed["removed"] == ["读我.md"]
    assert changed["unchanged"] == 1
    assert changed["since"] == {"etag": etag.strip('"').removesuffix("-text"), "known": True}

    other_choice = (await api.get(url, params={"since": etag, "exclude": "x"})).json()
    assert other_choice["since"]["known"] is False
    unknown = (await api.get(url, params={"since": '"abc"'})).json()
    assert unknown["since"] == {"etag": "abc", "known": False}
    assert [file["path"] for file in unknown["files"]] == [".gitignore", "main.py"]


async def test_since_can_be_continued(api: httpx.AsyncClient, tree: Path) -> None:
    url = await create(api, tree)
    etag = (await api.get(url)).headers["etag"]
    for number in range(3):
        (tree / f"{number}.py").write_text("x\n")
        answer = await api.get(url, params={"since": etag})
        assert [file["path"] for file in answer.json()["files"]] == [f"{number}.py"]
        etag = answer.headers["etag"]


async def test_since_is_known_to_every_worker_and_after_a_restart(
    database: Database, tree: Path, tmp_path: Path
) -> None:
    settings = make_settings(source_roots=[tmp_path / "projects"])
    async with running_app(database, settings) as one, client_of(one) as first:
        url = await create(first, tree)
        etag = (await first.get(url)).headers["etag"]
        (tree / "main.py").write_text("changed\n")
        async with running_app(database, settings) as two, client_of(two) as second:
            changed = await second.get(url, params={"since": etag})
    async with running_app(database, settings) as three, client_of(three) as third:
        nothing = await third.get(url, params={"since": changed.headers["etag"]})

    assert [file["path"] for file in changed.json()["files"]] == ["main.py"]
    assert changed.json()["since"]["known"] is True
    assert (nothing.json()["files"], nothing.json()["unchanged"]) == ([], 3)


async def test_an_answer_is_kept_as_long_as_it_is_among_the_newest(
    mock: Database, tree: Path, tmp_path: Path
) -> None:
    settings = make_settings(source_roots=[tmp_path / "projects"], source_answers=2)

    async def known(etag: str) -> bool:
        answer = await client.get(url, params={"since": etag, "tree": "only"})
        return bool(answer.json()["since"]["known"])

    async with running_app(mock, settings) as app, client_of(app) as client:
        url = await create(client, tree)
        other = await create(client, tree)
        await client.get(other)
        etags = []
        for number in range(3):
            (tree / "main.py").write_text(f"{number}\n")
            etags.append((await client.get(url)).headers["etag"])
            await asyncio.sleep(0.002)  # times are kept in milliseconds
        assert [await known(etag) for etag in etags] == [False, True, True]
        assert await AnsweredDigest.collection().count_documents({}) == 3

        await client.delete(url.removesuffix("/complete-source-code"))
        assert await AnsweredDigest.collection().count_documents({}) == 1


async def test_secrets_stay_home_unless_the_operator_allows(
    api: httpx.AsyncClient, mock: Database, tree: Path, tmp_path: Path
) -> None:
    (tree / ".env").write_text("DB_PASSWORD=hunter2\n")
    url = await create(api, tree)

    body = (await api.get(url)).json()
    assert "hunter2" not in body["completeSourceCode"]
    assert body["redactions"] == {"secret variable": 1}
    refused = await api.get(f"{url}?redact=false")
    assert refused.status_code == 403

    settings = make_settings(source_roots=[tmp_path / "projects"], source_allow_unredacted=True)
    async with running_app(mock, settings) as app, client_of(app) as open_api:
        assert "hunter2" not in (await open_api.get(url)).text
        assert "hunter2" in (await open_api.get(f"{url}?redact=false")).text


async def test_where_there_is_nothing_to_read_it_says_so(
    api: httpx.AsyncClient, tree: Path, tmp_path: Path
) -> None:
    (tree.parent / "out").symlink_to(tmp_path)
    for directory, status in (
        (None, 409),
        ("", 409),
        (tmp_path, 403),
        ("/", 403),
        (tree / "../../..", 403),
        (tree.parent / "out", 403),
        ("relative/dir", 403),
        (tree / "gone", 404),
        (tree / "main.py", 404),
        (f"{tree}/{'x' * 5000}", 404),
    ):
        answer = await api.get(await create(api, directory))
        assert answer.status_code == status, (directory, answer.text)
        assert str(tmp_path) not in answer.text
    missing = await api.get("/v1/projects/987654/complete-source-code")
    assert (missing.status_code, missing.json()["detail"]) == (404, "Project not found")


@pytest.mark.parametrize(
    ("limit", "status"),
    [
        ({"source_digest_bytes": 20}, 413),
        ({"source_entries": 2}, 413),
        ({"source_seconds": 1e-9}, 408),
        ({"source_file_bytes": 1}, 200),
        ({"source_depth": 1, "source_cache_bytes": 0}, 200),
    ],
)
async def test_limits_are_settings(
    mock: Database, tree: Path, tmp_path: Path, limit: dict[str, Any], status: int
) -> None:
    settings = make_settings(source_roots=[tmp_path / "projects"], **limit)
    async with running_app(mock, settings) as app, client_of(app) as client:
        answer = await client.get(await create(client, tree))
    assert answer.status_code == status
    if status != 200:
        assert isinstance(answer.json()["detail"], str)


async def test_names_and_contents_of_all_kinds_are_never_a_500(
    api: httpx.AsyncClient, tree: Path
) -> None:
    for number, raw in enumerate(
        (b"\xff\xfe", b"a\nb", b'"', b"\\", "\u2028".encode(), b"\x1b[0m")
    ):
        path = os.path.join(os.fsencode(tree), raw + b".txt")
        with open(path, "wb") as file:  # noqa: ASYNC230
            file.write(b"%d \x0c\x01\n" % number)
    (tree / "surrogate.txt").write_bytes(b"\xed\xa0\x80")
    url = await create(api, tree)

    for form in ("plain", "markdown", "xml", "json"):
        answer = await api.get(url, params={"format": form, "tree": "true"})
        assert answer.status_code == 200
        assert len(answer.json()["files"]) == 9
    assert any("undecodable" in item["reason"] for item in answer.json()["skipped"])


async def test_what_a_choice_would_send_is_said_without_the_text(
    api: httpx.AsyncClient, tree: Path
) -> None:
    url = await create(api, tree)
    for choice in ({}, {"max_tokens": 40}, {"include": "*.py"}):
        whole = await api.get(url, params=choice)
        bare = await api.get(url, params={**choice, "text": "false"})
        assert bare.json() == {**whole.json(), "completeSourceCode": ""}
        assert bare.headers["etag"] != whole.headers["etag"]
        known = {"If-None-Match": bare.headers["etag"]}
        again = await api.get(url, params={**choice, "text": "false"}, headers=known)
        assert again.status_code == 304


async def test_digests_at_once_are_all_answered(api: httpx.AsyncClient, tree: Path) -> None:
    url = await create(api, tree)

    answers = await asyncio.gather(*(api.get(url) for _ in range(12)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["etag"] for answer in answers}) == 1


async def test_the_work_stops_when_the_client_leaves(mock: Database, tmp_path: Path) -> None:
    root = tmp_path / "projects" / "large"
    root.mkdir(parents=True)
    for number in range(100):
        (root / f"{number}.txt").write_text(f"ghp_{number:036} " * 1000)
    settings = make_settings(source_roots=[tmp_path / "projects"], source_digests=1)
    left = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async with running_app(mock, settings) as app, client_of(app) as api:
        path = await create(api, root)
        asking = asyncio.create_task(
            app(
                {
                    **{"type": "http", "method": "GET", "path": path, "query_string": b""},
                    **{"headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 5)},
                    **{"http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 80)},
                    "root_path": "",
                },
                receive,
                send,
            )
        )
        left.set()
        await asking
        (root / "small").mkdir()
        (root / "small" / "a.py").write_text("x = 1\n")
        # With one digest at once, this waits for nothing that goes on in vain.
        after = await api.get(await create(api, root / "small"))

    assert sent[0]["status"] == 499
    assert after.json()["total_bytes"] > 0
