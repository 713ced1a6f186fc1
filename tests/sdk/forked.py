"""Python scripts, each in a fork of a process that has imported what they need.

LiteLLM's import alone takes two seconds, more than all calls of a script. Reads requests and
writes answers, a line of JSON each: `{"imports": ["litellm"], "arguments": ["client.py"],
"environment": {}, "folder": "/tmp"}`, and `{"status": 0, "out": "{}", "err": ""}`.
"""

import importlib
import json
import os
import runpy
import sys
import tempfile
import traceback
from typing import Any


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    try:
        for name in asked["imports"]:
            importlib.import_module(name)
    except Exception:
        return {"status": 1, "out": "", "err": traceback.format_exc()}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os._exit(_run(asked))
        _, status = os.waitpid(pid, 0)
        out.seek(0)
        err.seek(0)
        return {
            "status": os.waitstatus_to_exitcode(status),
            "out": out.read().decode(),
            "err": err.read().decode(),
        }


def _run(asked: dict[str, Any]) -> int:
    """Be `python script.py …` with nothing to read; returns its exit status."""
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.argv = asked["arguments"]
    status: Any = None
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as error:
        status = error.code
    except BaseException:
        traceback.print_exc()
        status = 1
    if status is not None and not isinstance(status, int):
        print(status, file=sys.stderr)
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status or 0


def main() -> None:
    """Answer until nobody asks any more."""
    answers = os.fdopen(os.dup(1), "w")
    # What an import prints is no answer.
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
