"""Two hundred bodies that nobody means well, each with a content type."""

import json
from collections.abc import Iterator
from typing import Any

JSON = "application/json"


def deep(opening: str, inner: str, closing: str, depth: int) -> bytes:
    return (opening * depth + inner + closing * depth).encode()


def broken() -> Iterator[tuple[str, bytes]]:
    """What is no JSON at all: always a 4xx."""
    texts: dict[str, bytes] = {
        "open brace": b"{",
        "two values": b"{}{}",
        "trailing comma": b'{"name": "x",}',
        "single quotes": b"{'name': 'x'}",
        "bare word": b"undefined",
        "comment": b'{"name": "x"} // y',
        "unclosed string": b'{"name": "x',
        "raw newline in a string": b'{"name": "a\nb"}',
        "raw nul in a string": b'{"name": "a\x00b"}',
        "only a nul": b"\x00",
        "bad escape": b'{"name": "\\x41"}',
        "half an escape": b'{"name": "\\u12"}',
        "bytes that are no utf-8": b'{"name": "\xff\xfe"}',
        "overlong slash": b'{"name": "\xc0\xaf"}',
        "latin-1": '{"name": "é"}'.encode("latin-1"),
        "xml": b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
        "yaml": b"name: !!python/object/apply:os.system ['true']",
        "pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",
        "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff",
        "bson": b"\x16\x00\x00\x00\x02name\x00\x02\x00\x00\x00x\x00\x00",
        "form": b"name=x&content=y",
        "javascript": b"(()=>{while(1);})()",
        "json lines": b'{"name": "x"}\n{"name": "y"}',
        "utf-7": b"+AHs-+ACI-name+ACI-:1+AH0-",
        "nothing but spaces": b" " * 1000,
        "nothing but commas": b"," * 1000,
        "many brackets": b"[" * 100_000,
        "many braces": b'{"a":' * 100_000,
        "a number that never ends": b"1" * 100_000 + b"x",
        "hexadecimal": b'{"id": 0x10}',
        "leading zero": b'{"id": 007}',
        "plus sign": b'{"id": +1}',
        "half a number": b'{"id": 1.}',
        "half a literal": b'{"stream": tru}',
    }
    yield from texts.items()


def not_an_object() -> Iterator[tuple[str, bytes]]:
    """JSON that is no object: always a 4xx."""
    values: tuple[Any, ...] = (None, True, 0, -1, 1.5, "text", "", 10**400)
    lists: tuple[Any, ...] = ([], [[]], [{}], ["$where"], [None])
    for value in values + lists:
        yield f"json {json.dumps(value)[:20]}", json.dumps(value).encode()
    yield "deep list", deep("[", "", "]", 900)
    yield "very deep list", deep("[", "", "]", 50_000)
    yield "NaN", b"NaN"
    yield "infinity", b"-Infinity"
    yield "huge exponent", b"1e999999"


VALUES: dict[str, Any] = {
    "operator gt": {"$gt": ""},
    "operator ne": {"$ne": None},
    "operator where": {"$where": "sleep(10000) || true"},
    "operator regex": {"$regex": "(a+)+$"},
    "operator expr": {"$expr": {"$function": {"body": "while(1);", "args": [], "lang": "js"}}},
    "operator in": {"$in": [1, 2, 3]},
    "list of operators": [{"$gt": ""}],
    "dotted key": {"a.b": 1},
    "dollar key": {"$": 1},
    "empty key": {"": 1},
    "proto": {"__proto__": {"admin": True}},
    "python class": {"__class__": {"__init__": {"__globals__": 1}}},
    "nested nothing": {"a": {"b": {"c": None}}},
    "deep object": json.loads(deep('{"a":', "1", "}", 400)),
    "null": None,
    "true": True,
    "zero": 0,
    "minus one": -1,
    "beyond 63 bits": 2**63,
    "beyond 64 bits": -(2**64) - 1,
    "a million digits": 10**4000,
    "a fraction": 1.0000001,
    "huge float": 1e308,
    "empty text": "",
    "spaces": " \t\n ",
    "nul": "a\x00b",
    "lone surrogate": "\ud800",
    "reversed surrogates": "\udc00\ud800",
    "line separators": "\u2028\u2029\x85",
    "right to left": "\u202eabc\u202c",
    "zero width": "\u200b\ufeff",
    "combining": "e" + "\u0301" * 500,
    "emoji family": "👨‍👩‍👧‍👦" * 200,
    "chinese": "请用Java写冒泡排序" * 200,
    "controls": "".join(map(chr, range(1, 32))),
    "long": "x" * 600_000,
    "path": "../../../../etc/passwd",
    "windows path": "..\\..\\..\\windows\\win.ini",
    "file url": "file:///etc/passwd",
    "template": "{doc}{env}{0.__class__}{{7*7}}${7*7}<%= 7*7 %>%s%n",
    "log4j": "${jndi:ldap://127.0.0.1/a}",
    "sql": "'; DROP TABLE conversations; --",
    "shell": "$(touch /tmp/x)`id`;|&&",
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "header": "x\r\nSet-Cookie: proxy_session=1",
    "sse": "data: [DONE]\n\ndata: {}\n\n",
    "regex": "(a+)+$" + "a" * 50,
    "object id": {"$oid": "507f1f77bcf86cd799439011"},
    "extended number": {"$numberLong": "9223372036854775808"},
    "date": {"$date": "not a date"},
    "time out of range": "99999-99-99T99:99:99Z",
    "time at the edge": "9999-12-31T23:59:59.999999-23:59",
    "first time": "0001-01-01T00:00:00+14:00",
    "number text": "1e3",
    "list of numbers": list(range(2000)),
    "nested list": [[[[[[]]]]]],
    "mixed list": [1, "a", None, {"$gt": 1}],
}

FIELDS = ("name", "content", "message_ids")
"""Fields that most routes know; each hostile value is sent in all of them."""


def values() -> Iterator[tuple[str, bytes]]:
    """Objects with a hostile value in every field that routes know, and as unknown fields."""
    for label, value in VALUES.items():
        for field in FIELDS:
            yield f"{field}: {label}", json.dumps({field: value}).encode()
        yield f"key: {label}", json.dumps({str(value)[:200]: value}).encode()


def objects() -> Iterator[tuple[str, bytes]]:
    yield "an encoded surrogate", b'{"name": "\xed\xa0\x80"}'
    yield "same key twice", b'{"name": "a", "name": {"$gt": ""}}'
    yield "many keys", json.dumps({f"k{n}": n for n in range(20_000)}).encode()
    yield "id", b'{"_id": 1, "id": 1, "owner": "*", "scopes": ["admin"]}'
    yield "byte order mark", b"\xef\xbb\xbf{}"
    yield "utf-16", '{"name": "x"}'.encode("utf-16")
    yield "utf-32", '{"name": "x"}'.encode("utf-32")


MUST_FAIL = [*broken(), *not_an_object()]
BODIES = [*MUST_FAIL, *values(), *objects()]
assert len(BODIES) >= 200
