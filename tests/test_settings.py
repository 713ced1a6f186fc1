"""A wrong setting is one sentence that names it, wherever it was written."""

from pathlib import Path
from typing import Any

import pytest

from proxy.database import connect
from proxy.settings import Settings, SettingsError, load_settings
from tests.support.env_example import variables


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of its own, and none of the machine's variables."""
    monkeypatch.chdir(tmp_path)
    for name in variables():
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def sentence() -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "\n" not in str(caught.value)
    return str(caught.value)


WRONG = [
    ("PROXY_PORT", "abc"),
    ("PROXY_WORKERS", "0"),
    ("PROXY_LOG_LEVEL", "loud"),
    ("PROXY_ACCESS_LOG", "maybe"),
    ("PROXY_MONGODB_URI", "localhost:27017"),
    ("PROXY_MONGODB_DATABASE", "数据"),
    ("PROXY_MONGODB_DATABASE", "a.b"),
    ("PROXY_PROVIDERS", "nope"),
    ("PROXY_PROVIDERS", "[]"),
    ("PROXY_MODELS", "{broken"),
    ("PROXY_CONTINUE_MESSAGES", "继续"),
    ("PROXY_CORS_ORIGINS", "chat.example"),
    ("PROXY_CORS_ORIGINS", "https://chat.example/app"),
    ("PROXY_API_KEYS", "good,钥匙"),
    ("OPENAI_API_KEY", "sk-…"),
    ("POE_API_KEY", "two words"),
    ("OPENAI_BASE_URL", "http://"),
    ("OPENAI_BASE_URL", "http://[x/v1"),
    ("POE_BASE_URL", "ftp://poe"),
    ("PROXY_SESSION_DAYS", "inf"),
    ("PROXY_READ_TIMEOUT_SECONDS", "inf"),
    ("PROXY_READ_TIMEOUT_SECONDS", "nan"),
    ("PROXY_KEY_TOKENS_PER_DAY", "9" * 25),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert sentence().startswith(f"{name}: ")


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_line_of_the_env_file_is_named(bare: Path, name: str, value: str) -> None:
    (bare / ".env").write_text(f"{name}='{value}'\n", encoding="utf-8")
    assert sentence().startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port = 'x'", "PROXY_PORT: "),
        ("port =", "proxy.toml cannot be read: "),
        ("prot = 8000", "proxy.toml: there is no setting 'prot'"),
        ("[server]\nport = 1", "proxy.toml: there is no setting 'server'"),
        ("openai_base_url = 5", "OPENAI_BASE_URL: "),
        ("api_keys = ['good', 1]", "PROXY_API_KEYS: "),
        ("providers = 3", "PROXY_PROVIDERS: "),
        ("[providers.x]\nkind = 'y'", "proxy.toml [providers.x.kind]: "),
        ("[providers.x]\nbase_url = 'x/v1'", "proxy.toml [providers.x.base_url]: "),
        ("[providers.x]\nkey = 'y'", "proxy.toml [providers.x.key]: "),
        ("[providers.'a/b']", "provider 'a/b': "),
        ("[providers.x]\napi_key_env = 'NOT_SET_ANYWHERE'", "provider 'x' names the variable"),
        ("[models.x]\nroute = 'openai/x'", "proxy.toml [models.x.route]: "),
    ],
)
def test_a_wrong_line_of_the_toml_file_is_named(bare: Path, text: str, said: str) -> None:
    (bare / "proxy.toml").write_text(text, encoding="utf-8")
    assert sentence().startswith(said)


@pytest.mark.parametrize("name", [".env", "proxy.toml"])
def test_a_file_that_is_not_utf_8_is_named(bare: Path, name: str) -> None:
    (bare / name).write_bytes(b"port = '\xff\xfe'")
    assert name in sentence()


def test_every_name_of_the_toml_file_is_read(bare: Path) -> None:
    (bare / "proxy.toml").write_text(
        "port = 8001\nOPENAI_API_KEY = 'a'\npoe_api_key = 'b'\ncontinue_messages = ['weiter']\n"
        "api_keys = 'x, y'\n[models.m]\nroute = ['openai/m']\n",
        encoding="utf-8",
    )
    settings = load_settings()
    assert (settings.port, settings.continue_messages) == (8001, ["weiter"])
    assert settings.openai_api_key.get_secret_value() == "a"
    assert settings.poe_api_key.get_secret_value() == "b"
    assert [key.get_secret_value() for key in settings.api_keys] == ["x", "y"]


def test_the_environment_wins_over_the_env_file_and_that_over_the_toml_file(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare / "proxy.toml").write_text("port = 1\nworkers = 2\nhost = '::1'")
    (bare / ".env").write_text("PROXY_PORT=3\nPROXY_WORKERS=4\n")
    monkeypatch.setenv("PROXY_PORT", "5")
    settings = load_settings()
    assert (settings.port, settings.workers, settings.host) == (5, 4, "::1")


def test_a_providers_key_may_stand_in_the_env_file(bare: Path) -> None:
    (bare / ".env").write_text("SOME_PROVIDER_KEY=secret\n")
    (bare / "proxy.toml").write_text("[providers.x]\napi_key_env = 'SOME_PROVIDER_KEY'\n")
    key = load_settings().providers["x"].api_key
    assert key is not None
    assert key.get_secret_value() == "secret"


def test_the_line_end_of_a_copied_key_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " sk-abc\n")
    assert load_settings().openai_api_key.get_secret_value() == "sk-abc"


@pytest.mark.parametrize(
    "origin", ["*", "null", "https://chat.example", "http://127.0.0.1:5173/", "tauri://localhost"]
)
def test_origins_of_browsers_and_of_desktop_and_mobile_clients_are_taken(origin: str) -> None:
    assert Settings(_env_file=None, cors_origins=[origin]).cors_origins == [origin]


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://",
        "mongodb+srv://",
        "mongodb://user:p@ss@host/",
        "mongodb://host:99999",
        "mongodb://[host/",
        "mongodb://host/?directConnection=maybe",
        "mongodb://host/?nosuchoption=1",
    ],
)
def test_a_database_address_that_cannot_be_read_is_named_by_its_host_alone(uri: str) -> None:
    with pytest.raises(SettingsError, match="PROXY_MONGODB_URI") as caught:
        connect(uri, "proxy")
    assert "p@ss" not in str(caught.value).partition(";")[0]


def test_an_option_of_the_database_address_is_taken() -> None:
    given = connect("mongodb://host/?maxPoolSize=7&serverselectiontimeoutms=250&w=0", "proxy")
    default = connect("mongodb://host/", "proxy")
    for database, room, seconds in ((given, 7, 0.25), (default, 64, 5)):
        options = database.client.options
        assert options.pool_options.max_pool_size == room
        assert options.server_selection_timeout == seconds
        assert options.pool_options.connect_timeout == 5
        # Not these: what is acknowledged is on a disk.
        assert options.write_concern.document == {"w": "majority", "j": True}
        database.close()


def test_numbers_of_tests_and_defaults_are_taken() -> None:
    values: dict[str, Any] = {"session_days": 36_500, "key_tokens_per_day": 2**53}
    assert Settings(_env_file=None, **values).key_tokens_per_day == 2**53
