"""`.env.example` is the list of all settings."""

import re
from functools import cache
from pathlib import Path

import pytest

import proxy
from proxy.settings import Settings
from tests.support.env_example import variables

FILE = Path(proxy.__file__).parent.parent / ".env.example"
LINE = re.compile(r"^# ([A-Z][A-Z0-9_]+)=(.*)$", re.MULTILINE)


@cache
def defaults() -> Settings:
    return Settings(_env_file=None)


def test_it_lists_every_setting_once_and_nothing_else() -> None:
    listed = [name for name, _ in LINE.findall(FILE.read_text(encoding="utf-8"))]
    assert sorted(listed) == sorted(variables())


def test_copied_as_it_is_it_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "copy").write_text(FILE.read_text(encoding="utf-8"), encoding="utf-8")
    assert Settings(_env_file=tmp_path / "copy") == defaults()


def test_each_line_says_the_default(tmp_path: Path) -> None:
    lines = LINE.findall(FILE.read_text(encoding="utf-8"))
    text = "".join(f"{name}={value}\n" for name, value in lines)
    (tmp_path / "all").write_text(text, encoding="utf-8")
    read, default = dict(Settings(_env_file=tmp_path / "all")), dict(defaults())
    assert [name for name in default if read[name] != default[name]] == []


def test_a_changed_line_is_read(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("PROXY_PORT=8001\nPROXY_CONTINUE_MESSAGES=[]\n")
    settings = Settings(_env_file=tmp_path / "one")
    assert (settings.port, settings.continue_messages) == (8001, [])


def test_a_setting_that_is_a_size_or_a_time_names_its_unit() -> None:
    text = FILE.read_text(encoding="utf-8")
    for name in variables():
        if name.endswith(("TIMEOUT", "INTERVAL", "SIZE")):
            pytest.fail(f"{name} has no unit")
    assert "(seconds)" in text
    assert "(bytes)" in text
