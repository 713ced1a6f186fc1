"""The proxy with a monitor of its event loop: `GAPS=FILE python watched.py serve`."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from monitor import Monitor

from proxy import app
from proxy.commands.cli import main


def watched(create_app: Any, file: Path) -> Any:
    def create(*args: Any, **kwargs: Any) -> Any:
        app = create_app(*args, **kwargs)
        inner = app.router.lifespan_context

        @asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[None]:
            async with inner(app):
                Monitor(file)
                yield

        app.router.lifespan_context = lifespan
        return app

    return create


if __name__ == "__main__":
    app.create_app = watched(app.create_app, Path(os.environ["GAPS"]))
    sys.exit(main())
