"""`proxy keys …` and `proxy users …`: what the operator does from a shell.

commands = parser.add_subparsers()
add_admin_commands(commands)        # sets `run`, a coroutine function of the arguments
await arguments.run(arguments)      # with the documents bound: Database.prepare()
"""

import argparse
import asyncio
import getpass
import sys
import warnings
from typing import Any

from pydantic import TypeAdapter, ValidationError

from proxy.caller import ALL_SCOPES, DEFAULT_SCOPES
from proxy.commands.arguments import count, duration, key_name, limit, owner_name, print_table, when
from proxy.credentials import PASSWORD_CHARACTERS, Verifier
from proxy.documents.api_key import ApiKey, StoredKey, UsedKey
from proxy.documents.base import DEFAULT_OWNER, utc_now
from proxy.documents.user import User
from proxy.errors import NotFound, ProxyError
from proxy.schemas.keys import OwnerName

MIN_PASSWORD_CHARACTERS = 8


def add_admin_commands(commands: Any) -> None:
    """Add `keys` and `users` to a parser's sub-commands."""
    _add_keys(commands.add_parser("keys", help="make, list, revoke and rotate API keys"))
    _add_users(commands.add_parser("users", help="people who log in with a browser"))


def _add_keys(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make a key and print it, this once")
    create.add_argument("name", type=key_name)
    _add_owner(create, DEFAULT_OWNER)
    _add_scopes(create)
    create.add_argument("--rpm", type=count, metavar="N", help="requests a minute; 0 is no limit")
    create.add_argument("--tokens-per-day", type=count, metavar="N", help="0 is no limit")
    create.add_argument(
        "--streams", type=count, metavar="N", help="replies being written at once; 0 is no limit"
    )
    create.add_argument("--expires", type=duration, metavar="90d", help="30m, 12h, 90d or 4w")
    create.add_argument(
        "--remember-unstored",
        action="store_true",
        help="keep threads of Responses with store: false (Codex) as conversations",
    )
    create.set_defaults(run=create_key)
    listing = actions.add_parser("list", help="all keys, or those of an owner")
    _add_owner(listing, None)
    listing.set_defaults(run=list_keys)
    for name, run, text in (
        ("show", show_key, "all that is known of one key"),
        ("revoke", revoke_key, "end a key, for good"),
        ("rotate", rotate_key, "give a key a new secret, and print it"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("key", metavar="NAME|ID")
        _add_owner(action, None)
        action.set_defaults(run=run)


def _add_users(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make a user; the password is asked for")
    create.add_argument("name", type=key_name)
    create.add_argument(
        "--owner",
        type=owner_name,
        help="whose things the user sees (the user's own name; "
        f"{DEFAULT_OWNER!r} is whose things were made without keys)",
    )
    _add_scopes(create)
    create.set_defaults(run=create_user)
    password = actions.add_parser("password", help="set a password and end all sessions")
    password.add_argument("name")
    password.set_defaults(run=set_password)
    for action in (create, password):
        action.add_argument(
            "--password-stdin", action="store_true", help="read the password from standard input"
        )
    actions.add_parser("list", help="all users").set_defaults(run=list_users)
    delete = actions.add_parser("delete", help="remove a user and end all sessions")
    delete.add_argument("name")
    delete.set_defaults(run=delete_user)


def _add_owner(parser: argparse.ArgumentParser, default: str | None) -> None:
    parser.add_argument("--owner", type=owner_name, default=default, help="whose things it sees")


def _add_scopes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scope",
        action="append",
        choices=sorted(ALL_SCOPES),
        help=f"what it opens, once for each ({', '.join(DEFAULT_SCOPES)}); admin opens everything",
    )


# Keys


async def create_key(arguments: argparse.Namespace) -> int:
    """Make a key and print it."""
    secret, raw = await ApiKey.create_new(
        arguments.owner,
        arguments.name,
        scopes=_scopes(arguments),
        requests_per_minute=arguments.rpm,
        tokens_per_day=arguments.tokens_per_day,
        streams=arguments.streams,
        expires_at=arguments.expires and utc_now() + arguments.expires,
        remember_unstored=arguments.remember_unstored,
    )
    _print_secret(secret, raw)
    return 0


async def list_keys(arguments: argparse.Namespace) -> int:
    """Print a table of keys."""
    keys = await _keys_of(arguments.owner)
    rows = [
        (
            raw["name"],
            raw["_id"],
            raw["owner"],
            f"…{raw['last4']}",
            ",".join(raw["scopes"]),
            state_of(raw),
            when(raw.get("last_used_at")),
            str(raw.get("requests", 0)),
        )
        for raw in keys
    ]
    print_table(("NAME", "ID", "OWNER", "KEY", "SCOPES", "STATE", "LAST USED", "REQUESTS"), rows)
    return 0


async def show_key(arguments: argparse.Namespace) -> int:
    """Print all that is known of one key."""
    raw = await _named_key(arguments)
    raw = await ApiKey.get_one(raw["owner"], raw["_id"])
    for label, value in (
        ("name", raw["name"]),
        ("id", raw["_id"]),
        ("owner", raw["owner"]),
        ("key", f"…{raw['last4']}"),
        ("scopes", ", ".join(raw["scopes"])),
        ("state", state_of(raw)),
        ("created", when(raw["created_at"])),
        ("rotated", when(raw["rotated_at"])),
        ("expires", when(raw["expires_at"])),
        ("revoked", when(raw["revoked_at"])),
        ("last used", when(raw.get("last_used_at"))),
        ("requests", raw.get("requests", 0)),
        ("requests a minute", limit(raw["requests_per_minute"])),
        ("tokens a day", limit(raw["tokens_per_day"])),
        ("streams", limit(raw["streams"])),
    ):
        print(f"{label:<18} {value}")
    return 0


async def revoke_key(arguments: argparse.Namespace) -> int:
    """End a key."""
    raw = await _named_key(arguments)
    await ApiKey.revoke(raw["owner"], raw["_id"])
    print(f"{raw['name']} is revoked; it stops working within two seconds")
    return 0


async def rotate_key(arguments: argparse.Namespace) -> int:
    """Give a key a new secret."""
    key = await _named_key(arguments)
    secret, raw = await ApiKey.rotate(key["owner"], key["_id"])
    _print_secret(secret, raw)
    print("The former key stops working within two seconds", file=sys.stderr)
    return 0


async def _keys_of(owner: str | None) -> list[UsedKey]:
    return await ApiKey.list_all(owner) if owner else await ApiKey.list_everyones()


async def _named_key(arguments: argparse.Namespace) -> UsedKey:
    """Return the key of this id, or the only one of this name.

    A working one before a revoked one.
    """
    keys = await _keys_of(arguments.owner)
    found = [raw for raw in keys if arguments.key in (raw["_id"], raw["name"])]
    found = [raw for raw in found if raw["revoked_at"] is None] or found
    if not found:
        raise NotFound(f"There is no key {arguments.key!r}; `proxy keys list` shows all")
    if len(found) > 1:
        raise NotFound(f"There are several keys named {arguments.key!r}; name one by its id")
    return found[0]


def _print_secret(secret: str, raw: StoredKey) -> None:
    print(secret)
    print(
        f"This is shown once. Name {raw['name']}, id {raw['_id']}, owner {raw['owner']}, "
        f"scopes {', '.join(raw['scopes'])}",
        file=sys.stderr,
    )


def state_of(raw: StoredKey) -> str:
    """`working`, `expired` or `revoked`."""
    if raw["revoked_at"] is not None:
        return "revoked"
    if raw["expires_at"] is not None and raw["expires_at"] <= utc_now():
        return "expired"
    return "working"


# Users


async def create_user(arguments: argparse.Namespace) -> int:
    """Make a user."""
    owner = arguments.owner or _owner_of(arguments.name)
    hash_ = await Verifier().hash(await _ask_password(arguments))
    raw = await User.create_new(owner, arguments.name, hash_, _scopes(arguments))
    print(f"{raw['name']} may log in, and sees what belongs to {owner!r}")
    if owner != DEFAULT_OWNER:
        print(f"What was made without keys belongs to {DEFAULT_OWNER!r} (--owner {DEFAULT_OWNER})")
    return 0


async def set_password(arguments: argparse.Namespace) -> int:
    """Set a user's password."""
    hash_ = await Verifier().hash(await _ask_password(arguments))
    await User.set_password(arguments.name, hash_)
    print(f"The password of {arguments.name} is set, and all sessions are ended")
    return 0


async def list_users(arguments: argparse.Namespace) -> int:
    """Print a table of users."""
    del arguments
    print_table(
        ("NAME", "OWNER", "SCOPES", "CREATED"),
        [
            (raw["name"], raw["owner"], ",".join(raw["scopes"]), when(raw["created_at"]))
            for raw in await User.list_all()
        ],
    )
    return 0


async def delete_user(arguments: argparse.Namespace) -> int:
    """Remove a user."""
    await User.remove(arguments.name)
    print(f"{arguments.name} is removed; what belongs to the owner stays")
    if not await User.list_all():
        print("No user is left; the server still asks for a key (`proxy keys create NAME`)")
    return 0


def _owner_of(name: str) -> str:
    try:
        return str(TypeAdapter(OwnerName).validate_python(name))
    except ValidationError:
        raise ProxyError(
            f"{name!r} cannot name an owner; choose one with --owner (letters, digits, . _ @ -)"
        ) from None


async def _ask_password(arguments: argparse.Namespace) -> str:
    password = await asyncio.to_thread(_read_password, arguments.password_stdin)
    if not MIN_PASSWORD_CHARACTERS <= len(password) <= PASSWORD_CHARACTERS:
        raise ProxyError(
            f"A password has {MIN_PASSWORD_CHARACTERS} to {PASSWORD_CHARACTERS} characters"
        )
    return password


def _read_password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    try:
        # Where the terminal would show it, it is not asked for either.
        with warnings.catch_warnings(action="error", category=getpass.GetPassWarning):
            password = getpass.getpass("Password: ")
            again = getpass.getpass("Again: ")
    except (EOFError, getpass.GetPassWarning):
        raise ProxyError(
            "There is no terminal to ask for the password; send it with --password-stdin"
        ) from None
    if again != password:
        raise ProxyError("The two passwords differ")
    return password


def _scopes(arguments: argparse.Namespace) -> list[str]:
    return sorted(set(arguments.scope or DEFAULT_SCOPES))
