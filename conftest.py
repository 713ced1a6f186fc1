"""What is done before anything else is imported: keep what Python compiles, and collect no garbage.

Where `PYTHONDONTWRITEBYTECODE` is set, as in many containers, each process of the tests and each
server that they start would compile 2,000 modules again, which costs more than running them.
"""

import gc
import os
import sys
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

if sys.dont_write_bytecode:
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # Nothing is written beside the sources, as it was asked for.
    sys.pycache_prefix = str(Path(__file__).parent / ".pytest_cache" / "bytecode")
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix

# Hypothesis keeps tables of Unicode there, a second of work; a test begins in an empty directory.
os.environ.setdefault(
    "HYPOTHESIS_STORAGE_DIRECTORY", str(Path(__file__).parent / ".pytest_cache" / "hypothesis")
)

# Modules and collected tests stay: looking through them again and again is a tenth of the time.
gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Take four processes also where there are two cores: many tests wait for a clock.

    Those that are not slow wait less than a process takes to start, five seconds of a processor.
    """
    return 3 if config.option.markexpr == "not slow" else 4


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], AbstractEventLoop]] | None:
    """Run tests on the loop that a server runs on, where there is one for this machine."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return None
    return {"uvloop": uvloop.new_event_loop}


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Look for garbage among what the tests make, and only there."""
    gc.freeze()
    gc.enable()
