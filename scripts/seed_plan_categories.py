"""Create the built-in plan categories that are missing in the database at PROXY_MONGODB_URI.

Run it as often as you like: what is there stays as it is, edits included. The server does
the same at every start; this is for a database that is prepared before it.
"""

import asyncio
import sys

from proxy.database import connect
from proxy.documents.base import SHARED_OWNER
from proxy.documents.plan_category import PlanCategory
from proxy.errors import StorageUnavailable
from proxy.settings import Settings, SettingsError, load_settings


async def seed(settings: Settings) -> None:
    uri = settings.mongodb_uri.get_secret_value()
    if not uri:
        raise SettingsError(
            "PROXY_MONGODB_URI: name the database to seed; the embedded one is seeded by "
            "'uv run proxy' itself"
        )
    database = connect(uri, settings.mongodb_database)
    try:
        await database.ping()
        await database.prepare()
        for category in await PlanCategory.by_id(SHARED_OWNER):
            print(category["_id"], category["name"])
    finally:
        database.close()


def main() -> int:
    try:
        asyncio.run(seed(load_settings()))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except StorageUnavailable:
        print("The database at PROXY_MONGODB_URI does not answer", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
