"""Processes that believe in another day, by the library of Debian's package `faketime`."""

from pathlib import Path

import pytest

from tests.conftest import IN_CI


def later(days: int) -> dict[str, str]:
    """The environment of a process whose calendar is some days ahead; its time-outs are not."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        if IN_CI:
            pytest.fail("libfaketime is missing: run scripts/install-test-tools")
        pytest.skip("libfaketime is missing (scripts/install-test-tools)")
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME": f"+{days}d",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        # Else a thread that waits for the interpreter asks for it without a pause.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }
