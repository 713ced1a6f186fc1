"""The database: client, documents, indexes. Motor is imported here and in `timed_motor.py`."""

import asyncio
import logging
import warnings
from typing import Any
from urllib.parse import urlsplit

from beanie import init_beanie
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import ConfigurationError, PyMongoError

from proxy.documents.api_key import ApiKey, KeyActivity
from proxy.documents.base import Stored
from proxy.documents.conversation import Conversation
from proxy.documents.counter import Counter
from proxy.documents.document_reference import ProjectReferences
from proxy.documents.embedded_server import create_narrow_indexes, is_embedded
from proxy.documents.json_schema import describe_collections
from proxy.documents.message_page import MessagePage
from proxy.documents.message_revision import MessageRevision
from proxy.documents.message_view import create_message_view
from proxy.documents.plan_category import PlanCategory
from proxy.documents.plan_document import PlanDocument
from proxy.documents.plan_draft import PlanDraft
from proxy.documents.plan_file import PlanFile
from proxy.documents.project import Project
from proxy.documents.rate_window import RateWindow
from proxy.documents.response import StoredResponse
from proxy.documents.schema_version import Meta, check_version, record_version
from proxy.documents.server_secret import REASONING, ServerSecret
from proxy.documents.source_manifest import AnsweredDigest, SourceManifest
from proxy.documents.usage import Usage
from proxy.documents.user import Session, User
from proxy.documents.worker import Worker
from proxy.errors import StorageUnavailable
from proxy.sealing import new_key
from proxy.settings import SettingsError
from proxy.timed_motor import TimedDatabase

log = logging.getLogger(__name__)

DOCUMENTS: list[type[Stored]] = [
    Counter,
    Conversation,
    MessagePage,
    MessageRevision,
    PlanCategory,
    PlanDocument,
    PlanDraft,
    PlanFile,
    Project,
    SourceManifest,
    AnsweredDigest,
    ProjectReferences,
    Worker,
    ApiKey,
    KeyActivity,
    RateWindow,
    User,
    Session,
    Usage,
    Meta,
    StoredResponse,
    ServerSecret,
]
"""Every collection of the server."""

OPTIONS: dict[str, Any] = {
    "appname": "poe-openai-proxy",
    "serverSelectionTimeoutMS": 5_000,
    "connectTimeoutMS": 5_000,
    "maxPoolSize": 64,
}
"""Options of the client that a URI does not name."""


class Database:
    """An open database; `database` is the asynchronous handle, `client` its connection pool."""

    def __init__(self, database: Any) -> None:
        self.database = database
        self.client = database.client
        self._ping: asyncio.Task[None] | None = None
        self._ping_began = 0.0

    async def prepare(self, *, indexes: bool = True) -> None:
        """Bind the documents; create missing indexes, counters and built-in plan categories.

        Also what explains the collections in a Mongo shell: a view and, on MongoDB, schemas.

        Safe to repeat and to race.

        Raises:
            SettingsError: a newer version of this program has changed the database.

        `indexes=False` is for in-memory stand-ins, which take unique multikey indexes wrong and
        know no views.
        """
        await check_version(self.database)
        await self.bind_documents(indexes=indexes)
        await Counter.create_missing()
        await ServerSecret.create_missing(REASONING, new_key())
        await PlanCategory.create_builtin()
        await record_version(self.database)
        if not indexes:
            return
        embedded = await is_embedded(self.database)
        await create_message_view(self.database, embedded=embedded)
        if embedded:
            await create_narrow_indexes(self.database)
        else:
            await describe_collections(self.database, DOCUMENTS)

    async def bind_documents(self, *, indexes: bool) -> None:
        """Tell the documents' classes where their collections are; create missing indexes."""
        await init_beanie(
            database=self.database, document_models=DOCUMENTS, skip_indexes=not indexes
        )

    async def ping(self) -> None:
        """One round trip.

        Raises:
            StorageUnavailable: no answer.
        """
        try:
            await self.database.command("ping")
        except PyMongoError:
            raise StorageUnavailable from None

    async def answers_within(self, seconds: float) -> bool:
        """Return whether a ping comes back in time; callers at the same time share one."""
        now = asyncio.get_running_loop().time()
        ping = self._ping
        if ping is None or ping.done() or now - self._ping_began > seconds:
            ping = self._ping = asyncio.create_task(self.ping())
            self._ping_began = now
        await asyncio.wait((ping,), timeout=seconds)
        # One that fails later than that has been given up: nobody asks for its error.
        ping.add_done_callback(asyncio.Task.exception)
        return ping.done() and ping.exception() is None

    async def collection_stats(self) -> dict[str, int]:
        """Return collection name → estimated number of documents."""
        return {
            document.get_collection_name(): await document.collection().estimated_document_count()
            for document in DOCUMENTS
        }

    async def description(self) -> dict[str, Any]:
        """Return what the server is, how large the database is, and what it holds.

        `size_bytes` is None for the embedded server, whose own number is not that of its files.
        """
        embedded = await is_embedded(self.database)
        build = await self.database.command("buildInfo")
        size = None
        if not embedded:
            stats = await self.database.command("dbStats")
            size = int(stats.get("storageSize", 0) + stats.get("indexSize", 0))
        return {
            "server": "embedded" if embedded else "mongodb",
            "version": str(build.get("version", "")),
            "size_bytes": size,
            "conversations": await Conversation.collection().estimated_document_count(),
            "plan_documents": await PlanDocument.collection().estimated_document_count(),
        }

    def close(self) -> None:
        """Close all connections."""
        self.client.close()


def connect(uri: str, name: str) -> Database:
    """Open a client: every write is acknowledged by the journal of a majority.

    Raises:
        SettingsError: the URI cannot be read.
    """
    # What the client is given beside a URI would count for more than what stands in it.
    named = {option.partition("=")[0].lower() for option in uri.partition("?")[2].split("&")}
    try:
        with warnings.catch_warnings():
            # Of an option that it does not know, or a wrong value of one.
            warnings.simplefilter("error", UserWarning)
            client: Any = AsyncIOMotorClient(
                uri,
                w="majority",
                journal=True,
                **{key: value for key, value in OPTIONS.items() if key.lower() not in named},
            )
    except UserWarning:
        raise _unreadable(uri, "an option is unknown or has a wrong value") from None
    except (ConfigurationError, ValueError) as error:
        # Its text may hold the password.
        raise _unreadable(uri, type(error).__name__) from None
    return Database(TimedDatabase(client, name))


def _unreadable(uri: str, why: str) -> SettingsError:
    try:
        host = urlsplit(uri).hostname
    except ValueError:
        host = None
    return SettingsError(
        f"PROXY_MONGODB_URI (host {host or '?'}) cannot be read ({why}); it is like "
        "mongodb://user:password@host:27017/, with %-escapes where a name or password has : / @"
    )
