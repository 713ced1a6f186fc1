"""`requirements.lock` names every file by its hash, and no address; a first start is small."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

import proxy

ROOT = Path(proxy.__file__).parent.parent
LINE = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def names(lines: list[str]) -> set[str]:
    return {normal(re.split(r"[^A-Za-z0-9._-]", line)[0]) for line in lines}


def test_it_pins_every_dependency_with_hashes() -> None:
    text = (ROOT / "requirements.lock").read_text()
    locked = {normal(name): version for name, version in LINE.findall(text)}
    settings = project()
    wanted = list(settings["project"]["dependencies"])
    for group in settings["dependency-groups"].values():
        wanted += group
    assert names(wanted) <= locked.keys(), "run scripts/lock"
    pins = dict(line.split("==") for line in settings["tool"]["uv"]["constraint-dependencies"])
    for name, version in pins.items():
        assert locked.get(normal(name), version) == version, "run scripts/lock"
    assert text.count("--hash=sha256:") >= len(locked)
    assert "://" not in text


def test_no_older_version_is_allowed_than_was_tried() -> None:
    # `pip install .` into what is there already takes the oldest that is allowed.
    settings = project()["project"]
    wanted = [*settings["dependencies"], *chain(*settings["optional-dependencies"].values())]
    pins = dict(line.split("==") for line in project()["tool"]["uv"]["constraint-dependencies"])
    for line in wanted:
        found = re.match(r"([\w-]+)>=([\d.]+)", line)
        assert found, line
        name, least = found.groups()
        # A release of corrections more or less does not matter, but where nothing else is counted.
        parts = 3 if pins[name].startswith("0.0.") else 2
        assert least.split(".")[:parts] == pins[name].split(".")[:parts], line


def installed_at_first() -> set[str]:
    image = (ROOT / "requirements.image.lock").read_text()
    embedded = names(project()["dependency-groups"]["embedded"])
    return {normal(name) for name, _ in LINE.findall(image)} | embedded | {"poe-openai-proxy"}


def test_a_first_start_installs_fewer_than_70_packages() -> None:
    assert len(installed_at_first()) < 70


def test_what_the_embedded_databases_package_needs_is_left_out() -> None:
    try:
        lines = requires("secantusdb") or []
    except PackageNotFoundError:
        pytest.skip("the 'embedded' dependency group is not installed")
    needed = names([line for line in lines if ";" not in line])
    assert needed <= installed_at_first() | names(project()["tool"]["uv"]["override-dependencies"])
