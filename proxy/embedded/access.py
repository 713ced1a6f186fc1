"""Who may use the embedded database: one user with a generated password."""

from typing import Any

from pymongo import MongoClient

TIMEOUT_MILLISECONDS = 60_000


def make_user(uri: str, user: str, password: str) -> None:
    """On a server that runs without `--auth`: this user and no other.

    The user is made anew when it exists: its password may have been deleted.
    """
    with _connect(uri) as client:
        _drop_users(client)
        client.admin.command({"createUser": user, "pwd": password, "roles": ["root"]})


def drop_other_users(uri: str, user: str) -> None:
    """Drop whoever slipped in while the server was open."""
    with _connect(uri) as client:
        _drop_users(client, keep=user)


def check_password(uri: str) -> None:
    """One command that needs a log-in; `ping` is open to everybody.

    Raises:
        OperationFailure: the password is not accepted.
    """
    with _connect(uri) as client:
        client.admin.command("usersInfo")


def _drop_users(client: MongoClient[dict[str, Any]], *, keep: str = "") -> None:
    # {"forAllDBs": true} lists nobody on this server: users are made in `admin` only.
    for found in client.admin.command("usersInfo")["users"]:
        if found["user"] != keep:
            client.admin.command("dropUser", found["user"])


def _connect(uri: str) -> MongoClient[dict[str, Any]]:
    return MongoClient(uri, serverSelectionTimeoutMS=TIMEOUT_MILLISECONDS)
