"""`proxy search WORDS…`: words in everything that is stored, from a shell."""

import argparse
import re
import sys
from typing import Any

from proxy.caller import CallerInfo
from proxy.commands.arguments import count, owner_name, print_table, when
from proxy.documents.base import DEFAULT_OWNER, Raw
from proxy.responses import dumps
from proxy.schemas.search import DEFAULT_RESULTS, MAX_RESULTS
from proxy.search.hits import Kind
from proxy.search.query import parse
from proxy.search.request import DEFAULT_KINDS, KINDS, SORTS, Cursor, SearchRequest
from proxy.search.run import search

SECONDS = 10
"""Of one part of a long search; the command goes on until it has found enough."""

QUERY_CHARACTERS = 2_000

SNIPPET_COLUMNS = 60


def add_search_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    sub = commands.add_parser("search", help="find words in everything that is stored")
    sub.add_argument("words", nargs="+", help="all of them; '\"a phrase\"', this OR that")
    sub.add_argument("--not", action="append", default=[], dest="excluded", metavar="WORD")
    sub.add_argument("--in", action="append", choices=KINDS, dest="kinds", help="where; repeatable")
    sub.add_argument("--owner", type=owner_name, default=DEFAULT_OWNER, help="whose things")
    sub.add_argument("--project", type=count, metavar="ID")
    sub.add_argument("--conversation", metavar="ID")
    sub.add_argument("--sort", choices=SORTS, default="newest")
    sub.add_argument("--limit", type=count, default=DEFAULT_RESULTS, metavar="N")
    sub.add_argument("--all-versions", action="store_true", help="former versions of documents")
    sub.add_argument("--revisions", action="store_true", help="former texts of edited messages")
    sub.add_argument(
        "--json", action="store_true", help="one JSON object a line, as the API has it"
    )
    sub.set_defaults(run=search_everything)


async def search_everything(arguments: argparse.Namespace) -> int:
    """Print what is found; 1 when nothing was, as grep does."""
    typed = " ".join([*arguments.words, *(f'-"{word}"' for word in arguments.excluded)])
    kinds: list[Kind] = arguments.kinds or list(DEFAULT_KINDS)
    caller = CallerInfo(owner=arguments.owner)
    found = 0
    cursor: Cursor | None = None
    rows: list[tuple[str, str, str, str]] = []
    while found < arguments.limit:
        request = SearchRequest(
            owner=caller.owner,
            query=parse(typed, max_characters=QUERY_CHARACTERS),
            kinds=frozenset(kinds),
            sort=arguments.sort,
            limit=min(arguments.limit - found, MAX_RESULTS),
            project_id=arguments.project,
            conversation_id=arguments.conversation,
            all_versions=arguments.all_versions,
            revisions=arguments.revisions,
            cursor=cursor,
        )
        body = await search(request, seconds=SECONDS, is_unwanted=_wanted)
        found += len(body["results"])
        for result in body["results"]:
            if arguments.json:
                sys.stdout.write(dumps(result).decode() + "\n")
            else:
                rows.append(_row(result))
        if body["next"] is None:
            break
        cursor = Cursor.unpacked(body["next"])
    if rows:
        print_table(("WHEN", "WHAT", "WHERE", "TEXT"), rows)
    return 0 if found else 1


async def _wanted() -> bool:
    return False


def _row(result: Raw) -> tuple[str, str, str, str]:
    what: dict[str, Any] = {
        "message": f"{result.get('role')} {result.get('message_id')}",
        "conversation": "conversation",
        "document": f"document {result.get('document_id')}",
        "project": f"project {result['project_id']}",
    }
    where = {
        "message": result.get("conversation_name") or result.get("conversation_id"),
        "conversation": result.get("conversation_id"),
        "document": f"{result.get('filename')} v{result.get('version')}",
        "project": result["project_name"],
    }
    kind = result["type"]
    # Nothing that was stored may steer a terminal.
    text, source = (
        re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", " ", str(shown))
        for shown in (result["snippet"], where[kind])
    )
    return when(result["created_at"]), what[kind], source[:40], _around(text, result)


def _around(text: str, result: Raw) -> str:
    """Return the part of a snippet that a line has room for, with the first hit in it."""
    first = result["highlights"][0][0] if result["highlights"] else 0
    start = max(0, min(first - 10, len(text) - SNIPPET_COLUMNS))
    return text[start : start + SNIPPET_COLUMNS]
