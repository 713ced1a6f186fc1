"""Keep what Python compiles, before anything else is imported.

Where `PYTHONDONTWRITEBYTECODE` is set, as in many containers, each process of the tests and each
server that they start would compile 2,000 modules again, which costs more than running them.
"""

import os
import sys
from pathlib import Path

if sys.dont_write_bytecode:
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # Nothing is written beside the sources, as it was asked for.
    sys.pycache_prefix = str(Path(__file__).parent / ".pytest_cache" / "bytecode")
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
