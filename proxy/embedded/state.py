"""Which database program is installed, and what a data directory says of it."""

import contextlib
import importlib.metadata
import json
import os
import platform
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Self

from proxy.embedded.child import lock_file, private, write_private

PACKAGE = "secantusdb"
PROGRAM = "secantusd-rs"


class EmbeddedError(RuntimeError):
    """The embedded database cannot be used; the message is one sentence for the operator."""


@dataclass
class Record:
    """What `embedded.json` keeps between two starts."""

    version: str
    port: int = 0
    pid: int = 0
    password: str = ""
    protected: bool = False
    """Whether the user exists, so that the server can start with `--auth`."""

    @classmethod
    def read(cls, path: Path, version: str) -> Self:
        """Read the file, or begin one for a new directory.

        Raises:
            EmbeddedError: it is broken, or another version than `version` wrote the data.
        """
        try:
            record = cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            record = cls(version=version)
        except (ValueError, TypeError):
            raise EmbeddedError(
                f"{path} cannot be read: restore it, or delete it to have a new password made "
                "(the data stays)"
            ) from None
        if record.version != version:
            raise EmbeddedError(
                f"The data in {path.parent} was written by {PACKAGE} {record.version} and "
                f"{version} cannot read it: install {record.version}, run `proxy export FILE`, "
                "then `proxy import FILE` with the new version on an empty data directory"
            )
        record.password = record.password or secrets.token_urlsafe(32)
        return record

    def write(self, path: Path) -> None:
        """Replace the file."""
        write_private(path, json.dumps(asdict(self), indent=2) + "\n")


def take_directory(directory: Path) -> IO[str]:
    """Take a data directory's lock, which the kernel gives back however its owner ends.

    Raises:
        EmbeddedError: another process has it.
        OSError: the lock file cannot be written.
    """
    path = directory / "proxy.lock"
    file = open(path, "a+", encoding="ascii", opener=private)  # noqa: SIM115
    path.chmod(0o600)
    if not lock_file(file):
        file.seek(0)
        owner = file.read().strip()
        file.close()
        raise EmbeddedError(
            f"Another proxy{owner and f' (process {owner})'} already uses the data directory "
            f"{directory}: stop it, or set PROXY_DATA_DIR to another one"
        )
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def check_not_taken(directory: Path) -> None:
    """Say so when another proxy runs on a data directory.

    Raises:
        EmbeddedError: it does.
    """
    directory = directory.resolve()
    with contextlib.suppress(OSError):
        if (directory / "proxy.lock").exists():
            take_directory(directory).close()


def find_program() -> tuple[Path, str]:
    """Return the server's executable and the version of the package it came with.

    Raises:
        EmbeddedError: it is not installed; asks for PROXY_MONGODB_URI.
    """
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        distribution = importlib.metadata.distribution(PACKAGE)
        for file in distribution.files or []:
            path = Path(str(distribution.locate_file(file)))
            # The script of the same name in bin/ is a Python wrapper around this one.
            if path.stem == PROGRAM and path.is_file() and not _is_script(path):
                return path.resolve(), distribution.version
    raise EmbeddedError(
        "There is no embedded database here "
        f"(Python {platform.python_version()}, {platform.system()} {platform.machine()}): "
        "set PROXY_MONGODB_URI to a MongoDB server, or install the group `embedded` "
        "where it has a wheel"
    )


def flags(host: str, port: int, storage: Path, configuration: Path) -> list[str]:
    """Return the program's flags.

    Docs/decisions/0001-embedded-database.md says what each is for.
    """
    return [
        *("--config", str(configuration)),
        *("--host", host),
        *("--port", str(port)),
        *("--storage-path", str(storage)),
        "--sync-on-commit",
        *("--log-file-max", "64MB"),
        *("--cache-size", "256M"),
        *("--oplog-max-entries", "1000"),
    ]


def _is_script(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"#!"
