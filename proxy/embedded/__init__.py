"""The embedded database server of a single user.

`secantusd-rs` is a program of its own, found among the files of the installed package
and run as a child process; nothing of that package is ever imported
(docs/decisions/0001-embedded-database.md says why, and where the flags come from).

    <data_dir>/        700
    ├── proxy.lock     600   locked by the owner for as long as it lives; holds its pid
    ├── embedded.json  600   {"version", "port", "pid", "password", "protected"}
    ├── embedded.toml  600   the server's configuration file, empty
    ├── mongodb-uri    600   one line: what a Mongo shell needs to connect
    ├── embedded.log   600   what the server said since its last start
    ├── tls/           700   certificates: only who can read them gets as far as a command
    └── mongodb/       700   the server's own files
"""

from proxy.embedded.server import EmbeddedDatabase
from proxy.embedded.state import EmbeddedError, check_not_taken

__all__ = ["EmbeddedDatabase", "EmbeddedError", "check_not_taken"]
