"""Carry out the changes that a model's reply describes, and tell of each as an event.

{"type": "progress", "message": "[1/2] create_file src/main.py", "timestamp": "…Z",
 "data": {"step_index": 1, "action": "create_file", "file_path": "src/main.py"}}
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal
from uuid import uuid4

from proxy.source_code.base import display_path
from proxy.source_code.edit_blocks import Edit, read_edits
from proxy.source_code.edit_paths import EditError, problem_of, split_path
from proxy.source_code.edit_tree import Change, EditTree, TreeLimits
from proxy.source_code.redaction import redact
from proxy.source_code.text import NotTextError, to_utf8

audit = logging.getLogger("proxy.audit")

BACKUPS = "source-backups"
"""The folder of the server's data directory that keeps what was replaced or deleted."""

EventType = Literal["info", "progress", "success", "warning", "error", "summary"]

Event = dict[str, Any]
"""`{"message", "type", "timestamp", "data"}`."""

Diff = Callable[[str, str, str, str], str]
"""Of two texts and their names."""


@dataclass(frozen=True, slots=True)
class EditOptions:
    """How a reply is applied: `dry_run` changes nothing and gives diffs."""

    data_dir: Path
    limits: TreeLimits
    diff: Diff
    dry_run: bool = False
    keep_backups: bool = True
    backup_days: float = 0
    """Older backups are removed; 0 keeps them all."""
    redact: bool = True
    """Whether secrets are taken out of diffs."""
    caller: str = "-"
    """For the audit log."""


class Edits:
    """The run of one reply over one directory.

    Raises:
        Conflict: another run is under way there.
        EditError, Forbidden, NotFound: the directory cannot be written to.
    """

    def __init__(self, root: Path, reply: str, options: EditOptions) -> None:
        self._root = root
        self._reply = reply
        self._options = options
        now = datetime.now(UTC)
        backups = options.data_dir / BACKUPS
        self._remove_old_backups(backups, now)
        self._tree = EditTree(
            root,
            options.limits,
            backups=backups / f"{now:%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}"
            if options.keep_backups
            else None,
            forbidden=(options.data_dir,),
        )

    def run(self) -> Generator[Event, None, None]:
        """Carry out one block after the other, and tell of each; a bad one stops no other."""
        began = time.monotonic()
        try:
            edits = read_edits(self._reply)
            yield _event("info", f"{len(edits)} steps", {"total_tasks": len(edits)})
            if not edits:
                yield _event(
                    "error", "There is no step: no lines 'Step [n/m]', 'Action:' and 'File Path:'"
                )
            counts: Counter[str] = Counter()
            for index, edit in enumerate(edits, 1):
                yield from self._step(index, len(edits), edit, counts)
        finally:
            self._tree.close()
        yield _summary(len(edits), counts, time.monotonic() - began)

    def close(self) -> None:
        """Give the directory free where nothing was run."""
        self._tree.close()

    def _step(self, index: int, total: int, edit: Edit, counts: Counter[str]) -> Iterator[Event]:
        path = display_path(edit.path[:1000].encode("utf-8", "surrogatepass"))
        data = {
            "step_index": index,
            "title": edit.title[:1000].encode("utf-8", "replace").decode(),
            "action": edit.action or "",
            "file_path": path,
        }
        yield _event("progress", f"[{index}/{total}] {edit.action or '?'} {path}", data)
        if edit.problem:
            counts["invalid"] += 1
            yield _event("error", edit.problem, data)
            return
        if edit.code_blocks > 1:
            yield _event(
                "warning", f"Of {edit.code_blocks} code blocks the longest was taken", data
            )
        try:
            change, diff = self._carry_out(index, edit)
        except (EditError, OSError) as error:
            counts["failed"] += 1
            sentence = problem_of(error) if isinstance(error, OSError) else str(error)
            self._log(edit, path, f"failed: {sentence}")
            yield _event("error", f"{path}: {sentence}", data)
            return
        counts["successful"] += 1
        if self._options.dry_run:
            data["diff"] = diff
        if change.backup:
            data["backup_path"] = change.backup
        if change.changed and not self._options.dry_run:
            self._log(edit, path, f"done, backup {change.backup or '-'}")
        if change.note:
            yield _event("warning", f"{path}: {change.note}", data)
        else:
            done = "Would be done" if self._options.dry_run else "Done"
            kept = f"; the former content is in {change.backup}" if change.backup else ""
            yield _event("success", f"{done}: {edit.action} {path}{kept}", data)

    def _carry_out(self, index: int, edit: Edit) -> tuple[Change, str]:
        limits, tree = self._options.limits, self._tree
        parts = split_path(edit.path, self._root, limits.depth)
        try:
            content = edit.content.encode()
        except UnicodeEncodeError:
            raise EditError("The content holds half of a surrogate pair") from None
        if len(content) > limits.file_bytes:
            raise EditError(f"The content is larger than {limits.file_bytes} bytes")
        if self._options.dry_run:
            return Change(), self._preview(edit, parts, content)
        match edit.action:
            case "create_folder":
                return tree.create_folder(parts), ""
            case "delete_folder":
                return tree.delete_folder(parts, index), ""
            case "delete_file":
                return tree.delete_file(parts, index), ""
            case _:
                return tree.write_file(parts, content, index), ""

    def _preview(self, edit: Edit, parts: tuple[str, ...], content: bytes) -> str:
        """Return what a step would change, as a unified diff; of folders the names."""
        name = "/".join(parts)
        if edit.action == "create_folder":
            return f"new directory {name}\n"
        if edit.action == "delete_folder":
            files = self._tree.list_folder(parts)
            return "".join(
                f"deleted {display_path(file.encode('utf-8', 'surrogateescape'))}\n"
                for file in files
            )
        before = self._tree.read(parts)
        after = None if edit.action == "delete_file" else content
        texts = [self._shown(data, parts[-1]) for data in (before, after)]
        if None in texts:
            return f"Binary file {name} differs\n"
        old, new = (text or "" for text in texts)
        return self._options.diff(
            old,
            new,
            f"a/{name}" if before is not None else "/dev/null",
            f"b/{name}" if after is not None else "/dev/null",
        )

    def _shown(self, data: bytes | None, name: str) -> str | None:
        """Return a text without its secrets; None for one that is no text."""
        try:
            text, _ = to_utf8(data or b"")
        except NotTextError:
            return None
        if self._options.redact:
            text, _ = redact(text, name)
        return text.decode()

    def _log(self, edit: Edit, path: str, outcome: str) -> None:
        audit.info(
            "source write by %s: %s %s in %s: %s",
            *(self._options.caller, edit.action, path),
            *(display_path(str(self._root).encode("utf-8", "surrogateescape")), outcome),
        )

    def _remove_old_backups(self, backups: Path, now: datetime) -> None:
        if not self._options.backup_days or self._options.dry_run:
            return
        oldest = f"{now - timedelta(days=self._options.backup_days):%Y%m%dT%H%M%SZ}"
        try:
            old = [path for path in backups.iterdir() if path.name < oldest]
        except OSError:
            return
        for path in old:
            rmtree(path, ignore_errors=True)


def _event(type_: EventType, message: str, data: dict[str, Any] | None = None) -> Event:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"message": message, "type": type_, "timestamp": now, "data": data or {}}


def _summary(total: int, counts: Counter[str], seconds: float) -> Event:
    successful, failed, invalid = (counts[name] for name in ("successful", "failed", "invalid"))
    rate = 100 * successful / total if total else 0
    return _event(
        "summary",
        f"{successful} of {total} steps done, {failed} failed, {invalid} not understood",
        {
            "total_tasks": total,
            "successful_tasks": successful,
            "failed_tasks": failed,
            "invalid_tasks": invalid,
            "success_rate": f"{rate:.1f}%",
            "execution_time": f"{seconds:.2f}s",
        },
    )
