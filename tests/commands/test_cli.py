"""The `proxy` command as an operator runs it: a process of its own."""

import json
import logging
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from pymongo import MongoClient

from proxy.commands.cli import main
from tests.fakes.wire_server import find_program, free_port
from tests.support.command import Process, command, running
from tests.support.data_directories import prepared

pytestmark = pytest.mark.slow

__all__ = ["prepared"]

needs_embedded = pytest.mark.skipif(
    find_program() is None and not os.environ.get("CI"), reason="no embedded database here"
)


@pytest.fixture
def home(prepared: Path, tmp_path: Path) -> Path:
    """A folder whose `data` a server has been started on before: the first start takes two."""
    shutil.copytree(prepared, tmp_path / "data")
    return tmp_path


def failed(folder: Path, *arguments: str, **variables: str) -> str:
    """Run a command that must fail with exit code 2; its one sentence."""
    process = command(folder, *arguments, **variables)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2, out + err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1, err
    return err


def failed_here(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, **variables: str
) -> str:
    """The same within this process, where the settings fail before anything begins."""
    handlers = list(logging.getLogger().handlers)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.strip().splitlines())) == ("", 1), out + err
    assert logging.getLogger().handlers == handlers, "it went further than the settings"
    return err


def workers_that_wait(folder: Path, *, seconds: int) -> dict[str, str]:
    """The variables with which each worker waits before it imports anything."""
    (folder / "sitecustomize.py").write_text(
        "import sys, time, os\nif 'spawn_main' in ' '.join(sys.orig_argv):\n"
        f"    open(f'started-{{os.getpid()}}', 'w').close()\n    time.sleep({seconds})\n"
    )
    return {"PYTHONPATH": str(folder)}


def started(folder: Path) -> int:
    """How many such workers were begun."""
    return len(list(folder.glob("started-*")))


@needs_embedded
def test_first_start_says_where_it_is_and_two_slow_workers_keep_everything_over_a_move(
    tmp_path: Path, prepared: Path
) -> None:
    """Workers that need long are waited for: ended for their silence, they would never be up."""
    # Longer than the five seconds that uvicorn's own waits for a sign of life.
    slow = workers_that_wait(tmp_path, seconds=7)
    with running(tmp_path, "serve", "--workers", "2", **slow) as (url, process):
        created = httpx.post(url + "/v1/chat/conversations", json={"system_prompt": "你好"})
        id_ = created.json()["conversation_id"]
        reply = httpx.post(
            f"{url}/v1/chat/conversations/{id_}/messages", json={"content": "在吗"}, timeout=30
        )
        assert "在吗" in reply.json()["reply"]
        all_are_up(tmp_path, 2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        for said in (url, str(tmp_path / "data"), "echo", "mongosh", "none: open to this machine"):
            assert said in out
        assert "Traceback" not in err
    assert started(tmp_path) == 2
    moved = tmp_path / "moved"
    shutil.copytree(prepared, moved / "data")
    for folder, action in ((tmp_path, "export"), (moved, "import")):
        done = command(folder, action, str(tmp_path / "all.jsonl.gz"))
        out, err = done.communicate(timeout=60)
        assert done.returncode == 0, err
        assert "1 conversations" in out
    with running(moved) as (url, process):
        messages = httpx.get(f"{url}/v1/chat/conversations/{id_}/messages").json()["messages"]
        assert [m["role"] for m in messages] == ["system", "user", "assistant"]
        assert messages[2]["content"] == reply.json()["reply"]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0


def all_are_up(folder: Path, workers: int) -> None:
    """Return once every worker has started; the first of them answers for itself alone."""
    uri = (folder / "data" / "mongodb-uri").read_text().strip()
    deadline = time.monotonic() + 60
    with MongoClient[dict[str, object]](uri) as client:
        while client["proxy"]["workers"].count_documents({}) < workers:
            assert time.monotonic() < deadline
            time.sleep(0.1)  # the start of another process: nothing to wait on


def released(url: str) -> None:
    """Return once nobody holds the port any more."""
    port = int(url.rpartition(":")[2])
    deadline = time.monotonic() + 40
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                assert time.monotonic() < deadline, "a worker still holds the port"
                time.sleep(0.1)  # the end of another process: nothing to wait on
            else:
                return


@needs_embedded
def test_workers_end_with_the_embedded_database_and_with_the_process_that_holds_it(
    home: Path,
) -> None:
    """Nobody waits for a database that is gone, and the server can be started again."""
    patience = {"PROXY_SHUTDOWN_GRACE_SECONDS": "600", "PROXY_STORAGE_RETRY_SECONDS": "600"}
    for killed in ("database", "first process"):
        with running(home, "serve", "--workers", "2", **patience) as (url, process):
            all_are_up(home, 2)
            record = json.loads((home / "data" / "embedded.json").read_text())
            pid = record["pid"] if killed == "database" else process.pid
            os.kill(pid, signal.SIGKILL)
            _, err = process.communicate(timeout=60)
            released(url)
            assert "the server stops" in err
            assert "Traceback" not in err


def test_ctrl_c_while_workers_start_prints_no_stack(tmp_path: Path, wire_uri: str) -> None:
    """A terminal sends it to every process of its group."""
    variables = {**workers_that_wait(tmp_path, seconds=60), "PROXY_MONGODB_URI": wire_uri}
    process = command(tmp_path, "serve", "--workers", "2", PROXY_PORT=str(free_port()), **variables)
    deadline = time.monotonic() + 60
    while started(tmp_path) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)  # the start of other processes: nothing to wait on
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


def test_workers_know_broken_http_and_end_with_the_process_that_began_them(
    tmp_path: Path, wire_uri: str
) -> None:
    """Its answer has the shape of every error; their database outlives the process."""
    with running(tmp_path, "serve", "--workers", "2", PROXY_MONGODB_URI=wire_uri) as (url, process):
        address = (url.rpartition("/")[2].partition(":")[0], int(url.rpartition(":")[2]))
        with socket.create_connection(address) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert json.loads(body)["detail"] == "A request has exactly one 'Host' header"
        process.kill()
        process.communicate(timeout=60)
        released(url)


@pytest.fixture(scope="module")
def serving(
    prepared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, str, Process]]:
    """A server's folder, address and process, for tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("serving")
    shutil.copytree(prepared, folder / "data")
    with running(folder) as (url, process):
        yield folder, url, process


@needs_embedded
def test_a_second_server_on_the_same_data_is_told_so(serving: tuple[Path, str, Process]) -> None:
    folder, url, process = serving
    # Also on the port that the first one has, which is how it happens.
    for port in (str(free_port()), url.rpartition(":")[2]):
        sentence = failed(folder, PROXY_PORT=port)
        assert "already uses the data directory" in sentence
        assert f"process {process.pid}" in sentence


@needs_embedded
def test_a_key_made_beside_a_running_server_locks_it(home: Path) -> None:
    with running(home) as (url, _):
        assert httpx.get(url + "/v1/projects").status_code == 200
        made = command(home, "keys", "create", "laptop")
        out, err = made.communicate(timeout=60)
        assert made.returncode == 0, err
        key = next(word for word in out.split() if word.startswith("sk-proxy-"))
        deadline = time.monotonic() + 20
        while httpx.get(url + "/v1/projects").status_code != 401:
            assert time.monotonic() < deadline
            time.sleep(0.2)  # the server looks for new keys every now and then
        headers = {"Authorization": f"Bearer {key}"}
        assert httpx.get(url + "/v1/projects", headers=headers).status_code == 200


@needs_embedded
def test_a_used_port_is_told(serving: tuple[Path, str, Process], tmp_path: Path) -> None:
    _, url, _ = serving
    assert "PROXY_PORT" in failed(tmp_path, PROXY_PORT=url.rpartition(":")[2])


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"PROXY_PORT": "http"}, "PROXY_PORT"),
        ({"PROXY_PORT": "70000"}, "PROXY_PORT"),
        ({"PROXY_MONGODB_URI": "localhost:27017"}, "PROXY_MONGODB_URI"),
        ({"OPENAI_BASE_URL": "ftp://x"}, "OPENAI_BASE_URL"),
        ({"PROXY_LEASE_SECONDS": "soon"}, "PROXY_LEASE_SECONDS"),
        ({"PROXY_DEFAULT_PROVIDER": "nobody"}, "PROXY_DEFAULT_PROVIDER"),
    ],
)
def test_a_wrong_setting_is_one_sentence_that_names_it(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    named: str,
) -> None:
    assert named in failed_here(capsys, monkeypatch, **{"PROXY_PORT": "0", **variables})


def test_a_wrong_setting_ends_the_process_with_its_sentence(tmp_path: Path) -> None:
    assert "PROXY_PORT" in failed(tmp_path, PROXY_PORT="http")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_public_address_without_keys_is_refused(tmp_path: Path, wire_uri: str, host: str) -> None:
    variables = {"PROXY_PORT": str(free_port()), "PROXY_MONGODB_URI": wire_uri}
    assert "PROXY_API_KEYS" in failed(tmp_path, PROXY_HOST=host, **variables)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[providers.x\n", "proxy.toml"),
        ('[providers.deepseek]\napi_key_env = "NO_SUCH_KEY"\n', "NO_SUCH_KEY"),
        ('[models.fast]\nrout = ["a"]\n', "models.fast.rout"),
    ],
)
def test_a_broken_proxy_toml_is_one_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    named: str,
) -> None:
    (tmp_path / "proxy.toml").write_text(text)
    assert named in failed_here(capsys, monkeypatch)


def test_a_port_that_another_program_has_and_a_host_that_is_not_ours_are_told_apart(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        sentence = failed(tmp_path, PROXY_PORT=port)
        assert sentence.startswith(f"proxy: PROXY_PORT: cannot listen on 127.0.0.1:{port} ")
    for host in ("nosuch.invalid", "not a host", "192.0.2.1"):
        assert failed(tmp_path, PROXY_HOST=host).startswith(f"proxy: PROXY_HOST: {host!r} ")


@needs_embedded
def test_a_database_that_is_silent_or_refuses_is_one_sentence(
    serving: tuple[Path, str, Process], tmp_path: Path
) -> None:
    def told(uri: str) -> str:
        process = command(tmp_path, PROXY_PORT=str(free_port()), PROXY_MONGODB_URI=uri)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err.count("\n")) == (1, 1), err
        assert "PROXY_MONGODB_URI" in err
        return err

    assert "does not answer" in told("mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=9")
    uri = urlsplit((serving[0] / "data" / "mongodb-uri").read_text().strip())
    other = uri._replace(netloc=f"somebody:geheim@{uri.hostname}:{uri.port}")
    said = told(other.geturl())
    assert "refuses the user or password" in said
    assert "geheim" not in said
