"""The `proxy` command, also as `python -m proxy`."""

import gc
import sys
from importlib.util import find_spec

if find_spec("OpenSSL") is None:
    # pymongo looks for pyOpenSSL by a module of its own that needs it, but imports 8 MiB of
    # `cryptography` before it finds that it is not there.
    sys.modules["pymongo.pyopenssl_context"] = None  # type: ignore[assignment]


def run() -> int:
    """Run the command that the arguments name.

    A digest needs nothing of the server, and should not wait for its import.
    """
    try:
        # Modules keep what they make: looking for garbage among it takes a tenth of a start.
        gc.disable()
        if sys.argv[1:2] == ["digest"]:
            from proxy.commands.digest import run_digest_command  # noqa: PLC0415

            gc.enable()
            return run_digest_command(sys.argv[2:])
        from proxy.commands.cli import main  # noqa: PLC0415

        gc.enable()
        return main()
    except KeyboardInterrupt:
        # Ctrl-C, also in the second that the imports take.
        return 130


if __name__ == "__main__":
    sys.exit(run())
