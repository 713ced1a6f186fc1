"""Whose projects may lie where, and what is never source."""

import os
from pathlib import Path

import pytest

from proxy.errors import Forbidden, NotFound
from proxy.source_code.base import DigestOptions
from proxy.source_code.digests import Digests
from proxy.source_code.roots import SourceRoots
from tests.conftest import make_settings


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


async def test_a_root_can_be_each_owners_own(tmp_path: Path) -> None:
    for owner in ("anna", "王芳"):
        (tmp_path / owner / "shop").mkdir(parents=True)
    roots = SourceRoots(make_settings(source_roots=[tmp_path / "{owner}", tmp_path / "all"]), yes)

    assert await roots.of("anna") == [tmp_path / "anna", tmp_path / "all"]
    shop = roots.resolve(str(tmp_path / "王芳/shop"), await roots.of("王芳"))
    assert shop == tmp_path / "王芳/shop"
    for path in (tmp_path / "王芳/shop", tmp_path / "anna/../王芳/shop", tmp_path):
        with pytest.raises(Forbidden):
            roots.resolve(str(path), await roots.of("anna"))


@pytest.mark.parametrize("owner", ["..", ".", "", "a/b", "a\0b"])
async def test_an_owner_whose_name_is_no_directorys_has_no_root_of_their_own(
    tmp_path: Path, owner: str
) -> None:
    roots = SourceRoots(make_settings(source_roots=[tmp_path / "x" / "{owner}", tmp_path / "all"]))

    assert await roots.of(owner) == [tmp_path / "all"]


async def test_the_default_root_is_for_a_server_without_keys_alone(tmp_path: Path) -> None:
    assert await SourceRoots(make_settings(), no).of("default") == [tmp_path]
    with pytest.raises(Forbidden, match="PROXY_SOURCE_ROOTS"):
        await SourceRoots(make_settings(), yes).of("default")


async def test_the_servers_own_files_are_never_source_under_any_name(tmp_path: Path) -> None:
    (tmp_path / "proxy.toml").write_text('poe_api_key = "hunter2"\n')
    (tmp_path / ".env").write_text("X=hunter2\n")
    tree = tmp_path / "projects"
    (tree / "sub").mkdir(parents=True)
    os.link(tmp_path / "proxy.toml", tree / "notes.txt")
    os.link(tmp_path / ".env", tree / "sub" / "b.txt")
    data = tree / "data"
    data.mkdir()
    (data / "a.txt").write_text("hunter2\n")
    (tree / "a.py").write_text("x = 1\n")
    settings = make_settings(source_roots=[tmp_path], data_dir=data)
    digests = Digests(settings, SourceRoots(settings))

    made = await digests.make("default", str(tree), DigestOptions())
    whole = await digests.make("default", str(tmp_path), DigestOptions())

    assert [file.path for file in made.files] == ["a.py"]
    assert {item.path: item.reason for item in made.skipped} == {
        "notes.txt": "the server's own",
        "sub/b.txt": "the server's own",
        "data/": "the server's data directory",
    }
    assert [file.path for file in whole.files] == ["projects/a.py"]
    with pytest.raises(Forbidden):
        await digests.make("default", str(data), DigestOptions())


async def test_a_working_directory_that_vanished_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = tmp_path / "start"
    (start / "shop").mkdir(parents=True)
    monkeypatch.chdir(start)
    settings = make_settings(source_roots=[Path("shop")])
    digests = Digests(settings, SourceRoots(settings))
    (start / "shop").rmdir()
    start.rmdir()

    with pytest.raises(NotFound):
        await digests.make("default", str(start / "shop"), DigestOptions())
    monkeypatch.chdir(tmp_path)
