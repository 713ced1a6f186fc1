"""Motor's database, collection and cursors, with the time of each command counted.

The driver tells listeners of its commands at 30 µs each: it makes three objects a command, in the
thread that sends it. Counting around the calls takes less than one. A time is what a caller waited:
the command, and before it for a thread and a connection of the driver.

Only what this program asks is counted; a command of Beanie's first look at a database, say, is
not. Any other driver needs a module like this one.
"""

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

from motor import motor_asyncio
from pymongo.errors import BulkWriteError, WriteError

from proxy.metrics import COMMAND_DURATION

# Motor's own types are of its base classes, and say of a future that it is a number.
_Database: Any = motor_asyncio.AsyncIOMotorDatabase
_Collection: Any = motor_asyncio.AsyncIOMotorCollection
_Cursor: Any = motor_asyncio.AsyncIOMotorCursor
_CommandCursor: Any = motor_asyncio.AsyncIOMotorLatentCommandCursor

ANSWERED = (BulkWriteError, WriteError)
"""Errors of a document in a command that was answered: a duplicate key, one that is too large."""


class _Outcomes:
    """Counts of one command: `ok` takes the seconds of one that was answered."""

    __slots__ = ("_error", "ok")

    def __init__(self, command: str) -> None:
        self.ok = COMMAND_DURATION.series((command, "ok")).observe
        self._error = COMMAND_DURATION.series((command, "error")).observe

    def raised(self, error: BaseException, seconds: float) -> None:
        """Count one that raised an error."""
        (self.ok if isinstance(error, ANSWERED) else self._error)(seconds)


def timed(command: str, method: Callable[..., Any]) -> Any:
    """Return a method that counts how long it takes under the name of its command."""
    outcomes = _Outcomes(command)
    ok = outcomes.ok

    async def counting(*arguments: Any, **options: Any) -> Any:
        began = perf_counter()
        try:
            found = await method(*arguments, **options)
        except Exception as error:
            outcomes.raised(error, perf_counter() - began)
            raise
        ok(perf_counter() - began)
        return found

    return counting


def _fetched(outcomes: _Outcomes, began: float, batch: Any) -> None:
    if batch.cancelled():
        return
    seconds, error = perf_counter() - began, batch.exception()
    if error is None:
        outcomes.ok(seconds)
    else:
        outcomes.raised(error, seconds)


_FIND, _AGGREGATE, _GET_MORE = map(_Outcomes, ("find", "aggregate", "getMore"))


class TimedCursor(_Cursor):  # type: ignore[misc]
    """What `find` gives: its command, and one more for each further batch."""

    def _get_more(self) -> Any:
        counting = partial(_fetched, _GET_MORE if self.started else _FIND, perf_counter())
        batch = super()._get_more()
        batch.add_done_callback(counting)
        return batch


class TimedCommandCursor(_CommandCursor):  # type: ignore[misc]
    """What `aggregate` gives."""

    def _get_more(self) -> Any:
        counting = partial(_fetched, _GET_MORE if self.started else _AGGREGATE, perf_counter())
        batch = super()._get_more()
        batch.add_done_callback(counting)
        return batch


class TimedCollection(_Collection):  # type: ignore[misc]
    """A collection."""

    find_one = timed("find", _Collection.find_one)
    insert_one = timed("insert", _Collection.insert_one)
    insert_many = timed("insert", _Collection.insert_many)
    update_one = timed("update", _Collection.update_one)
    update_many = timed("update", _Collection.update_many)
    replace_one = timed("update", _Collection.replace_one)
    delete_one = timed("delete", _Collection.delete_one)
    delete_many = timed("delete", _Collection.delete_many)
    find_one_and_update = timed("findAndModify", _Collection.find_one_and_update)
    count_documents = timed("aggregate", _Collection.count_documents)
    estimated_document_count = timed("count", _Collection.estimated_document_count)
    create_indexes = timed("createIndexes", _Collection.create_indexes)

    def find(self, *arguments: Any, **options: Any) -> TimedCursor:
        """Return a cursor; nothing is asked before its first document is."""
        return TimedCursor(self.delegate.find(*arguments, **options), self)

    def aggregate(self, pipeline: Any, **options: Any) -> TimedCommandCursor:
        """Return a cursor; nothing is asked before its first document is."""
        return TimedCommandCursor(self, self._async_aggregate, pipeline, **options)


class TimedDatabase(_Database):  # type: ignore[misc]
    """A database."""

    _build_info: Any = None

    def __getitem__(self, name: str) -> TimedCollection:
        return TimedCollection(self, name)

    async def command(self, command: Any, *arguments: Any, **options: Any) -> Any:
        """Run a command, whose name is its first key."""
        if command == {"buildInfo": 1} and self._build_info is not None:
            return self._build_info
        name = command if isinstance(command, str) else next(iter(command))
        found = await timed(name, super().command)(command, *arguments, **options)
        if command == {"buildInfo": 1}:
            # Beanie asks for it with each of its classes, in 43 of the 118 commands of a start.
            self._build_info = found
        return found

    def get_collection(self, name: str, **options: Any) -> TimedCollection:
        """Return a collection with other concerns."""
        return TimedCollection(self, name, **options)
