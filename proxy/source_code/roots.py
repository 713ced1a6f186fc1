"""Which directories an owner's projects may lie in, and what in them is never source."""

import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

from proxy.errors import Conflict, Forbidden, NotFound
from proxy.settings import ENV_FILE, TOML_FILE, Settings
from proxy.source_code.repository import inside_git

OWNER = "{owner}"


class SourceRoots:
    """Know what the settings say of source, for one worker.

    `is_locked` says whether a key or a user exists: then there is no default root.
    """

    def __init__(
        self, settings: Settings, is_locked: Callable[[], Awaitable[bool]] | None = None
    ) -> None:
        self._is_locked = is_locked
        # Made absolute now: the working directory may go away later.
        self._default = Path.cwd()
        self._roots = [self._default / root for root in settings.source_roots]
        self._data_dir = self._default / settings.data_dir
        named = [value for name, value in settings if name != "source_roots"]
        paths = [value for value in named if isinstance(value, Path)]
        self._own = [self._default / path for path in (Path(ENV_FILE), Path(TOML_FILE), *paths)]

    async def of(self, owner: str) -> list[Path]:
        """Return the directories that the owner's projects may lie in.

        Raises:
            Forbidden: there are none (403).
        """
        if not self._roots:
            if self._is_locked is not None and await self._is_locked():
                raise Forbidden(
                    "This server has keys and names no directories for source; "
                    "its operator can set PROXY_SOURCE_ROOTS",
                    code="no_source_roots",
                )
            return [self._default]
        return [Path(str(root).replace(OWNER, owner)) for root in self._roots if _fits(root, owner)]

    def resolve(self, ai_work_dir: str | None, roots: list[Path]) -> Path:
        """Return the real directory of a project, which lies in one of the roots; blocking.

        Raises:
            Conflict, Forbidden, NotFound: as `resolve_root` has it; the data directory is
                forbidden, too.
        """
        root = resolve_root(ai_work_dir, roots)
        if root.is_relative_to(os.path.realpath(self._data_dir)):
            raise Forbidden("The server's own data directory is no source directory")
        return root

    def own(self) -> frozenset[tuple[int, int]]:
        """Return device and inode of the files and directories that are never source; blocking."""
        found: set[tuple[int, int]] = set()
        for path in self._own:
            try:
                status = os.stat(path)
            except OSError:
                continue
            found.add((status.st_dev, status.st_ino))
        return frozenset(found)


def _fits(root: Path, owner: str) -> bool:
    """Whether the root is everybody's, or the owner's name is that of a directory."""
    is_name = owner not in ("", ".", "..") and "/" not in owner and "\0" not in owner
    return is_name or OWNER not in str(root)


def resolve_root(ai_work_dir: str | None, source_roots: list[Path]) -> Path:
    """Return the real directory of a project.

    Raises:
        Conflict: the project has none (409).
        Forbidden: it lies outside of `source_roots`, or is git's own (403).
        NotFound: it is gone (404).
    """
    if not ai_work_dir:
        raise Conflict("The project has no source directory; set its 'ai_work_dir'")
    if "\0" in ai_work_dir or not os.path.isabs(ai_work_dir):
        raise Forbidden("The project's 'ai_work_dir' must be an absolute path")
    real = os.path.realpath(ai_work_dir)
    roots = [os.path.realpath(root) for root in source_roots]
    if not any(real == root or real.startswith(root.rstrip("/") + "/") for root in roots):
        raise Forbidden(
            "The project's source directory is outside of the directories that this "
            "server may read (PROXY_SOURCE_ROOTS)"
        )
    if ".git" in real.split("/"):
        raise inside_git()
    try:
        if not stat.S_ISDIR(os.stat(real).st_mode):
            raise NotFound("The project's source directory is not a directory")
    except (OSError, ValueError):
        raise NotFound("The project's source directory does not exist") from None
    return Path(real)
