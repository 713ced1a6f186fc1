"""Keys and passwords stay where they are: not in `repr`, the OpenAPI document, errors, logs."""

import json
import logging
import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr

from proxy.access.auth import Authenticator
from proxy.app import create_app
from proxy.database import Database, connect
from proxy.documents.api_key import ApiKey
from proxy.documents.user import Session, User
from proxy.setting_types import ProviderSettings
from proxy.settings import Settings, SettingsError, load_settings
from tests.conftest import make_settings
from tests.support.keys import ADMIN, bearer, locked, make_key
from tests.support.passwords import quick_hash
from tests.support.secret_watch import SECRET, SecretWatch

SECRETS = {
    "api_keys": [ADMIN],
    "openai_api_key": "upstream-secret-key-1",
    "poe_api_key": "upstream-secret-key-2",
    "mongodb_uri": "mongodb://operator:upstream-secret-key-3@127.0.0.1:1/proxy",
}


def secret_settings() -> Settings:
    providers = {"other": ProviderSettings(api_key=SecretStr("upstream-secret-key-4"))}
    return make_settings(**SECRETS, providers=providers)


def test_settings_do_not_show_what_is_secret() -> None:
    settings = secret_settings()
    for shown in (repr(settings), str(settings), str(settings.model_dump()), str(vars(settings))):
        assert not SECRET.search(shown)
    assert not SECRET.search(settings.model_dump_json())
    assert not SECRET.search(repr(vars(Authenticator(settings))))


def test_the_openapi_document_holds_no_secret_and_no_path_of_the_server() -> None:
    document = json.dumps(create_app(secret_settings()).openapi())
    assert not SECRET.search(document)
    assert "/root/" not in document


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROXY_MONGODB_URI", "http://operator:upstream-secret-key@127.0.0.1/proxy"),
        ("PROXY_PORT", "upstream-secret-key"),
    ],
)
def test_a_wrong_setting_is_named_without_a_secret_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name) as caught:
        load_settings()
    assert "upstream-secret-key" not in "".join(traceback.format_exception(caught.value))


def test_a_wrong_database_address_is_named_without_its_password() -> None:
    uri = "mongodb://operator:upstream-secret-key@127.0.0.1:wrong/proxy"
    with pytest.raises(SettingsError) as caught:
        connect(uri, "proxy")
    shown = "".join(traceback.format_exception(caught.value))
    assert "upstream-secret-key" not in shown


async def test_errors_and_logs_hold_no_key_cookie_or_password(
    wire: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="proxy")
    async with locked(wire, access_log=True, login_attempts=2) as client:
        key = await make_key(scopes=["plan"], requests_per_minute=2)
        await User.create_new("ada", "Ada", quick_hash("zebra crossing 42"), ["chat"])
        headers = bearer(key)
        answers = [
            await client.get("/v1/chat/conversations", headers=headers),
            await client.get("/v1/plan/documents/1", headers=headers),
            await client.post("/v1/plan/documents", json={"content": 1}, headers=headers),
            await client.get("/v1/models", headers=headers),
            await client.get("/v1/models", headers=bearer(key[:-1] + "-")),
            await client.get("/v1/models", headers={"Authorization": key}),
            await client.get("/v1/models", headers={"Cookie": f"proxy_session={key}"}),
            await client.get(f"/v1/models/{key}"),
        ]
        for password in ("zebra crossing 42", "the passphrase of the tests", "x" * 2000):
            body = {"userName": "Ada", "password": password}
            answers.append(await client.post("/v1/auth/login", json=body))
        answers.append(await client.post("/v1/auth/login", json={"password": key}))
        codes = [answer.status_code for answer in answers]
        assert codes == [403, 404, 422, 429, 401, 401, 401, 401, 200, 401, 422, 422]
        for answer in answers:
            assert not SECRET.search(answer.text), answer.text
        assert "proxy.access" in caplog.text


async def test_the_database_holds_only_hashes(wire: Database) -> None:
    async with locked(wire) as client:
        key = await make_key()
        await User.create_new("ada", "Ada", quick_hash("zebra crossing 42"), ["chat"])
        body = {"userName": "Ada", "password": "zebra crossing 42"}
        await client.post("/v1/auth/login", json=body)
        cookie = client.cookies["proxy_session"]
        stored = [
            str(raw)
            for document in (ApiKey, User, Session)
            async for raw in document.collection().find({})
        ]
        assert len(stored) == 3
        for raw in stored:
            for secret in (key, cookie, "zebra crossing 42"):
                assert secret not in raw


def test_the_watch_notices_a_secret_in_a_log_line() -> None:
    watch = SecretWatch()
    logger = logging.getLogger("tests.watched")
    logger.propagate = False
    logger.addHandler(watch)
    logger.warning("sent %s", bearer(ADMIN))
    try:
        raise ValueError("Bearer abcdef")
    except ValueError:
        logger.exception("oh")
    logger.warning("harmless")
    assert len(watch.found) == 2


@pytest.mark.parametrize("directory", ["", "data", "data/mongodb", "other"])
async def test_a_project_never_reads_a_servers_data_directory(
    mock: Database, tmp_path: Path, directory: str
) -> None:
    for data in (tmp_path / "data", tmp_path / "other" / "deep"):
        (data / "mongodb").mkdir(parents=True)
        for name in ("embedded.json", "mongodb-uri", "embedded.log", "mongodb/table.wt"):
            (data / name).write_text('{"password": "upstream-secret-key"}')
    (tmp_path / "main.py").write_text("print()")
    fields = {"name": "x", "ai_work_dir": str(tmp_path / directory)}
    async with locked(mock, data_dir=tmp_path / "data", source_roots=[tmp_path]) as client:
        client.headers.update(bearer(ADMIN))
        await client.post("/v1/projects", json=fields)
        answer = await client.get("/v1/projects/1/complete-source-code")
    assert answer.status_code == (403 if directory.startswith("data") else 200)
    assert "upstream-secret-key" not in answer.text
    assert "embedded" not in answer.text
    if not directory:
        assert "main.py" in answer.text
        assert {"path": "data/", "reason": "the server's data directory"} in answer.json()[
            "skipped"
        ]
