"""`requirements.lock` names every file by its hash, and no address."""

import re
import tomllib
from pathlib import Path

import proxy

ROOT = Path(proxy.__file__).parent.parent
LINE = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_it_pins_every_dependency_with_hashes() -> None:
    text = (ROOT / "requirements.lock").read_text()
    locked = {normal(name): version for name, version in LINE.findall(text)}
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    wanted = list(project["project"]["dependencies"])
    for group in project["dependency-groups"].values():
        wanted += group
    names = {normal(re.split(r"[^A-Za-z0-9._-]", line)[0]) for line in wanted}
    assert names <= locked.keys(), "run scripts/lock"
    pins = dict(line.split("==") for line in project["tool"]["uv"]["constraint-dependencies"])
    for name, version in pins.items():
        assert locked.get(normal(name), version) == version, "run scripts/lock"
    assert text.count("--hash=sha256:") >= len(locked)
    assert "://" not in text
