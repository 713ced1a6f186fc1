"""`POST /v1/write-source-code`."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.database import Database
from tests.conftest import client_of, make_settings, running_app

URL = "/v1/write-source-code"
REPLY = """Step [1/2] - 新文件
Action: Create file
File Path: src/你好.py
```python
print("你好")
```
------
Step [2/2] - Not this
Action: Update file
File Path: ../x
```
x
```
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "projects" / "shop"
    path.mkdir(parents=True)
    return path


def settings_of(tmp_path: Path, **fields: Any) -> Any:
    defaults = {"source_write": True, "source_roots": [tmp_path / "projects"]}
    return make_settings(**{**defaults, "data_dir": tmp_path / "data", **fields})


@pytest.fixture
async def api(mock: Database, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running_app(mock, settings_of(tmp_path)) as app, client_of(app) as client:
        yield client


async def project(api: httpx.AsyncClient, directory: Path | str, **options: Any) -> None:
    body = {"name": f"p {directory}", "ai_work_dir": str(directory)}
    assert (await api.post("/v1/projects", json=body, **options)).status_code == 200


def body(root: Path | str, content: str = REPLY, **fields: Any) -> dict[str, Any]:
    """What the desktop client sends."""
    return {
        "root_dir": str(root),
        "files_content": content,
        "log_level": "INFO",
        "backup_enabled": True,
        **fields,
    }


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    """The events, read as the desktop client reads them."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    *frames, done, rest = answer.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(frame.removeprefix("data:")) for frame in frames]


async def test_a_reply_is_written_and_told_as_events(api: httpx.AsyncClient, root: Path) -> None:
    await project(api, root)
    answer = await api.post(URL, json=body(root))
    found = events(answer)
    assert [event["type"] for event in found] == [
        "info",
        "progress",
        "success",
        "progress",
        "error",
        "summary",
    ]
    assert found[-1]["data"]["success_rate"] == "50.0%"
    assert (root / "src/你好.py").read_text() == 'print("你好")\n'
    assert "你好.py" in answer.text, "Chinese must not be escaped"
    again = events(await api.post(URL, json=body(f"{root}/", REPLY.replace("你好", "再见"))))
    assert again[2]["type"] == "success"


async def test_a_dry_run_gives_diffs(api: httpx.AsyncClient, root: Path) -> None:
    await project(api, root)
    found = events(await api.post(f"{URL}?dry_run=true", json=body(root)))
    assert found[2]["data"]["diff"].endswith('+print("你好")\n')
    assert os.listdir(root) == []


async def test_what_is_replaced_is_kept_in_the_data_directory(
    api: httpx.AsyncClient, root: Path, tmp_path: Path
) -> None:
    await project(api, root)
    (root / "src").mkdir()
    (root / "src/你好.py").write_text("old")
    found = events(await api.post(URL, json=body(root)))
    backup = found[2]["data"]["backup_path"]
    assert (tmp_path / "data" / backup).read_text() == "old"


async def test_a_log_level_leaves_events_out(api: httpx.AsyncClient, root: Path) -> None:
    await project(api, root)
    found = events(await api.post(URL, json=body(root, log_level="ERROR")))
    assert [event["type"] for event in found] == ["progress", "progress", "error", "summary"]


async def test_it_is_off_until_the_operator_allows_it(
    mock: Database, tmp_path: Path, root: Path
) -> None:
    settings = settings_of(tmp_path, source_write=False)
    async with running_app(mock, settings) as app, client_of(app) as client:
        await project(client, root)
        answer = await client.post(URL, json=body(root))
    assert answer.status_code == 403
    assert "PROXY_SOURCE_WRITE=true" in answer.json()["detail"]
    assert os.listdir(root) == []


async def test_only_a_project_of_the_same_owner_is_written_to(
    mock: Database, tmp_path: Path, root: Path
) -> None:
    async with (
        running_app(mock, settings_of(tmp_path, api_keys="sk-operator")) as app,
        client_of(app) as client,
    ):
        operator = {"Authorization": "Bearer sk-operator"}
        made = await client.post(
            "/v1/keys", json={"name": "theirs", "owner": "somebody"}, headers=operator
        )
        theirs = {"Authorization": f"Bearer {made.json()['key']}"}
        await project(client, root, headers=operator)
        answer = await client.post(URL, json=body(root), headers=theirs)
        assert answer.status_code == 403
        assert "ai_work_dir" in answer.json()["detail"]
        await project(client, root, headers=theirs)
        assert (await client.post(URL, json=body(root), headers=theirs)).status_code == 200
        chat = await client.post(
            "/v1/keys",
            json={"name": "chat", "owner": "somebody", "scopes": ["chat"]},
            headers=operator,
        )
        refused = await client.post(
            URL, json=body(root), headers={"Authorization": f"Bearer {chat.json()['key']}"}
        )
        assert refused.json()["error"]["code"] == "missing_scope"


async def test_a_directory_is_a_projects_inside_of_the_source_roots(
    api: httpx.AsyncClient, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (root.parent / "link").symlink_to(tmp_path / "elsewhere")
    await project(api, root)
    await project(api, tmp_path / "elsewhere")
    await project(api, root.parent / "link")
    await project(api, root.parent / "gone")
    for directory, status in (
        (root.parent, 403),
        (root / "src", 403),
        (tmp_path / "elsewhere", 403),
        (root.parent / "link", 403),
        (root.parent / "gone", 404),
        ("", 403),
        ("a\0b", 403),
    ):
        answer = await api.post(URL, json=body(directory))
        assert answer.status_code == status, (directory, answer.text)
        assert answer.json()["detail"]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"[]", 422),
        (b'{"root_dir": "/x"}', 422),
        (b'{"root_dir": 1, "files_content": ""}', 422),
        (b'{"root_dir": "/x", "files_content": ["x"]}', 422),
        (b'{"root_dir": "/x", "files_content": "\\ud800"}', 400),
    ],
)
async def test_a_wrong_body_is_a_sentence(
    api: httpx.AsyncClient, content: bytes, status: int
) -> None:
    answer = await api.post(URL, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert isinstance(answer.json()["detail"], str)
    plain = await api.post(URL, content=content, headers={"Content-Type": "text/plain"})
    assert plain.status_code == 415


async def test_a_file_of_ten_megabytes_is_written(api: httpx.AsyncClient, root: Path) -> None:
    await project(api, root)
    line = "x" * 1023 + "\n"
    large = REPLY.replace('print("你好")\n', line * 10 * 1024)
    found = events(await api.post(URL, json=body(root, large)))
    assert found[2]["type"] == "success"
    assert (root / "src/你好.py").stat().st_size == 10 * 1024 * 1024
    larger = REPLY.replace('print("你好")\n', line * 10 * 1024 + "\n")
    found = events(await api.post(URL, json=body(root, larger)))
    assert "larger than 10485760 bytes" in found[2]["message"]
