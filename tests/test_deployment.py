"""What can be known of the container files without a container engine."""

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

import proxy
from tests.support.env_example import variables

ROOT = Path(proxy.__file__).parent.parent


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    found: dict[str, Any] = compose["services"]
    return found


def instructions() -> list[tuple[str, str]]:
    """(instruction, argument) of the Dockerfile, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", text)).splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line.strip()]


def final_stage() -> list[tuple[str, str]]:
    found = instructions()
    start = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    return found[start:]


def test_the_image_is_slim_and_runs_as_nobody_special() -> None:
    stage = final_stage()
    assert stage[0] == ("FROM", "python:3.12-slim")
    users = [argument for name, argument in stage if name == "USER"]
    assert len(users) == 1
    assert int(users[0]) > 0
    after = stage[[name for name, _ in stage].index("USER") :]
    assert not {"RUN", "COPY", "ADD"} & {name for name, _ in after}


def test_the_image_holds_neither_build_tools_nor_the_embedded_database() -> None:
    held = (ROOT / "requirements.image.lock").read_text(encoding="utf-8")
    assert "fastapi==" in held
    assert not re.search(r"^(secantusdb|pytest|uv|ruff)==", held, re.MULTILINE)
    assert not [argument for name, argument in final_stage() if name == "RUN" and "uv" in argument]
    copied = [argument for name, argument in final_stage() if name == "COPY"]
    assert copied == ["--from=build /opt/proxy /opt/proxy"]


def test_what_comes_from_a_registry_is_named_by_its_hash() -> None:
    steps = [
        step.strip()
        for name, argument in instructions()
        if name == "RUN"
        for step in argument.split("&&")
        if "pip install" in step
    ]
    assert len(steps) == 3
    for step in steps:
        assert "--require-hashes" in step or "--no-deps --no-index" in step, step
    for file in ("requirements.image.lock", "requirements.build.lock"):
        text = (ROOT / file).read_text(encoding="utf-8")
        names = re.findall(r"^[a-z0-9].*==", text, re.MULTILINE)
        assert text.count("--hash=sha256:") >= len(names) > 0
        assert "://" not in text


def test_the_image_asks_whether_the_process_lives_and_not_the_database() -> None:
    checks = [argument for name, argument in final_stage() if name == "HEALTHCHECK"]
    assert len(checks) == 1
    assert "/livez" in checks[0]
    assert "PROXY_PORT" in checks[0]


@pytest.mark.parametrize("secret", [".env", "data/embedded.json", ".git/config", "proxy.toml"])
def test_secrets_stay_out_of_the_build(secret: str) -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    kept = [rule[1:] for rule in rules if rule.startswith("!")]
    assert not any(fnmatch(secret, rule) or secret.startswith(f"{rule}/") for rule in kept)


def test_everything_the_image_is_built_from_reaches_the_build() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    for name, argument in instructions():
        if name == "COPY" and not argument.startswith("--from"):
            for source in argument.split()[:-1]:
                assert any(source == one or source.startswith(f"{one}/") for one in kept)
                assert (ROOT / source).exists()


def test_mongodb_is_a_replica_set_that_founds_itself(services: dict[str, Any]) -> None:
    mongodb = services["mongodb"]
    assert re.fullmatch(r"mongo:8(\.\d+)*", mongodb["image"])
    name = mongodb["command"][mongodb["command"].index("--replSet") + 1]
    check = mongodb["healthcheck"]["test"][-1]
    assert f'rs.initiate({{_id: "{name}"' in check
    assert 'host: "mongodb:27017"' in check
    assert "isWritablePrimary" in check
    assert services["proxy"]["environment"]["PROXY_MONGODB_URI"].endswith(f"?replicaSet={name}")


def test_mongodb_can_only_be_reached_by_the_proxy(services: dict[str, Any]) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    assert not {"ports", "expose", "network_mode"} & set(services["mongodb"])
    assert services["mongodb"]["networks"] == ["database"]
    assert compose["networks"]["database"]["internal"] is True
    assert [name for name, one in services.items() if "database" in one["networks"]] == [
        "mongodb",
        "proxy",
    ]


def test_mongodb_keeps_its_data_in_a_volume(services: dict[str, Any]) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    volume, path = services["mongodb"]["volumes"][0].split(":")
    assert volume in compose["volumes"]
    assert path == "/data/db"


def test_the_proxy_waits_for_a_healthy_database(services: dict[str, Any]) -> None:
    assert services["proxy"]["depends_on"]["mongodb"]["condition"] == "service_healthy"


def test_the_proxy_needs_a_key_and_is_published_to_this_machine_only(
    services: dict[str, Any],
) -> None:
    service = services["proxy"]
    assert service["environment"]["PROXY_HOST"] == "0.0.0.0"
    assert service["environment"]["PROXY_API_KEYS"].startswith("${PROXY_API_KEYS:?")
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["env_file"] == [".env"]


def test_the_proxy_can_write_nowhere_and_gain_nothing(services: dict[str, Any]) -> None:
    service = services["proxy"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not {"privileged", "user", "pid", "network_mode"} & set(service)


def test_every_service_has_limits(services: dict[str, Any]) -> None:
    for name, service in services.items():
        limits = service["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} <= set(limits), name


def test_every_setting_that_the_files_name_exists() -> None:
    known = set(variables())
    for file in ("docker-compose.yml", "Dockerfile"):
        named = set(re.findall(r"\b(?:PROXY|OPENAI|POE)_[A-Z_]+\b", (ROOT / file).read_text()))
        assert named <= known, file


def test_a_running_reply_is_given_its_grace_before_the_container_is_killed(
    services: dict[str, Any],
) -> None:
    from proxy.settings import Settings

    grace = int(services["proxy"]["stop_grace_period"].removesuffix("s"))
    assert grace > Settings(_env_file=None).shutdown_grace_seconds + 10
