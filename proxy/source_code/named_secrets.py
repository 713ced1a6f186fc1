"""Secrets that only their names tell: `password: …`, `"apiKey": "…"`, `Authorization: …`.

Source: the names that detect-secrets and others look for, and what such values look like.
"""

import math
import re
import string
from collections import Counter

_STEMS = (
    *("passw|ord", "passw|d", "pass|phrase", "pw|d", "secre|t", "toke|n", "credentia|l"),
    *("api|key", "access|key", "private|key", "account|key", "auth|key", "secret|key"),
    *("encryption|key", "signing|key", "shared|key", "master|key", "auth|token", "app|secret"),
    *("api|secret", "license|key", "subscription|key", "storage|key", "ark|key"),
)


def _needles() -> tuple[bytes, ...]:
    found: set[str] = set()
    for stem in _STEMS:
        first, second = stem.split("|")
        joints = ("", "_", "-") if second in ("key", "token", "secret") else ("",)
        for joint in joints:
            word = first + joint + second
            found |= {word, word.upper(), first.title() + joint + second}
            if joint or second in ("key", "token", "secret"):
                found |= {first + second.title(), first.title() + joint + second.title()}
    return (*sorted(word.encode() for word in found), b"_KEY")


NEEDLES = _needles()
HEADER_NEEDLES = (b"uthorization", b"UTHORIZATION", b"Bearer ", b"bearer ")

_QUOTE = rb"""(?:\\{0,2}["'`])"""
# From the needle on: the rest of the name, a sign, and the value with or without quotes.
_assigned = re.compile(
    rb"""[\w\-]{1,60}+ (?>(?:"""
    + _QUOTE
    + rb""" | \\{0,2}["']?\])?) [ \t]{0,20}+ (?P<sign> := | => | \?= | = | :(?!:) )
    (?!=) [ \t]{0,20}+ (?: [bru]?"""
    + _QUOTE
    + rb"""(?P<quoted>[^"'`\\\r\n]{4,512}+)"""
    + _QUOTE
    + rb""" | (?P<bare>[^\s"'`,;{}()<>\[\]&|\\]{4,512}+) (?![(\[]) )""",
    re.VERBOSE,
).match
_header = re.compile(
    rb"""(?: [uU]thorization | UTHORIZATION ) ["']?\]? [ \t]*+ [:=,]? [ \t]*+ ["'`]?
    (?> (?: (?:Bearer|Basic|Token|ApiKey|Key) [ \t]++ )? ) (?P<value> [A-Za-z0-9._~+/=-]{8,2048}+ )
    | [Bb]earer[ ] (?P<bearer> [A-Za-z0-9._~+/=-]{20,2048}+ )""",
    re.VERBOSE | re.IGNORECASE,
).match
_name_before = re.compile(rb":?[\w.\-]{0,60}\Z")

is_config = re.compile(
    r""".+\.(?: ya?ml | json[5c]? | toml | ini | cfg | conf | config | cnf | properties | env
        | tf | tfvars | hcl | sh | bash | zsh | fish | ps1 | bat | cmd | service | dockerfile )
    | (?:Dockerfile|Containerfile|docker-compose|Jenkinsfile|Makefile)[\w.-]*
    | \.env[\w.-]* | \.?[\w-]+rc | credentials | config""",
    re.IGNORECASE | re.VERBOSE,
).fullmatch
"""Names of files in which a value needs no quotes, and a password may be short."""

_harmless_name = re.compile(
    r"""^: | public | publishable | tokens(?:_|$) | tokeni[sz] | tokenType | secretName
    | (?: next | prev | page | pagination | change | lock | request | client | continuation | sync
        | update | action | output | input | cursor | start | resume | marker | idempotency )_?token
    | [_.-]?(?: url | uri | path | file | dir | ttl | seconds | minutes | hours | days | name
        | type | algorithm | expir\w* | length | size | enabled | limit | ref | field | label
        | placeholder | hint | hash | prefix | suffix | count | policy | regex | pattern | class
        | required | confirm\w* | error | message | text | title | help | version | budget
        | checksum | spec | used | updated
        | changed | created | date | time | at | description | header | format
        | min | max | (?<![a-z])id | Id | ID )s?$""",
    re.IGNORECASE | re.VERBOSE,
).search
_is_password = re.compile("passw|passphrase|pwd", re.IGNORECASE).search
_reference = re.compile(
    rb"""^[$@&*!%#] | \$\{ | \{\{ | \$\( | [<>] | %\( | x{4} | X{4} | \*{3} | \.{3} | ^\W+$
    | (?i: your | example | change | placeholder | dummy | replace | redacted | insert | todo
        | \benv\. | environ | getenv | secrets\. | vault: | arn: | ^https?: | ^file: | ^urn:
        | sha\d+(?:[:=-]|$)
        | ^-- | ^[~^=v]{0,2}\d+[.]\d+ | ^(?:sha|md5|hs|rs|es|aes|utf|iso)-?\d+$ )""",
    re.VERBOSE,
).search
_wordy = re.compile(rb"[A-Za-z]*\d{0,2}(?:[-_./:+ @#]+(?:[A-Za-z]*\d{0,2}|\d{1,4}))*").fullmatch
_identifier = re.compile(rb"[A-Za-z_$][\w$]*(?:(?:\.|->|::)[A-Za-z_$][\w$]*)+").fullmatch
_pattern = re.compile(rb"[{}()\[\]|]").search
_path = re.compile(rb"(?:~|\.{0,2})/[\w./@-]*|[A-Za-z]:\\.*").fullmatch


def assigned(text: bytes, at: int, name: str) -> tuple[int, int] | None:
    """Return where the secret stands that a name containing the needle at `at` is given."""
    match = _assigned(text, at)
    if match is None:
        return None
    end = match.end("sign")
    before = _name_before.search(text, max(at - 60, 0), at)
    left = before[0] if before else b""
    whole = text[at - len(left) : match.start("sign")].rstrip(b" \t\"'`\\]")
    if _harmless_name(whole.decode("latin-1")):
        return None
    group = "quoted" if match["quoted"] is not None else "bare"
    value = match[group]
    if group == "bare":
        value = value.rstrip(b".:=") if not value.endswith(b"=") else value
    config = is_config(name) is not None
    shell = whole.isupper() and text[end - 1 : end] == b"="
    if group == "bare" and not (config or shell):
        return None
    password = _is_password(whole.decode("latin-1")) is not None
    if not _is_plausible(value, password=password, strict=not config):
        return None
    return match.start(group), match.start(group) + len(value)


def in_header(text: bytes, at: int) -> tuple[int, int] | None:
    """Return where the secret of an `Authorization` header stands."""
    match = _header(text, at)
    if match is None or text[max(at - 2, 0) : max(at - 1, 0)].isalpha():
        return None
    group = "value" if match["value"] is not None else "bearer"
    value = match[group]
    return match.span(group) if _is_plausible(value, password=False, strict=True) else None


def _is_plausible(value: bytes, *, password: bool, strict: bool) -> bool:
    """Whether a value looks like a secret, and not like a word, a name, a path or a reference."""
    if len(value) < (12 if strict else 6) or not value.isascii():
        return False
    digits = len(value) - len(value.translate(None, _DIGITS))
    if _reference(value) or _path(value) or b" " in value:
        return False
    if digits <= _NAME_DIGITS and _identifier(value):
        return False
    letters = len(value) - len(value.translate(None, _LETTERS))
    is_long = len(value) >= _LONG_BYTES and value.isalnum() and digits > 0
    if value.isdigit() or (_wordy(value) and not is_long):
        # `hunter2` is one word and a password; `db-secret-1` is a name.
        return password and not strict and digits > 0 and value.isalnum()
    if strict:
        is_random = digits > 1 and letters > 1 and _entropy(value) > _STRICT_BITS
        return is_random and not _pattern(value)
    return password or (digits > 0 and _entropy(value) > _CONFIG_BITS)


_DIGITS, _LETTERS = string.digits.encode(), string.ascii_letters.encode()
_STRICT_BITS, _CONFIG_BITS = 3.0, 2.5
_LONG_BYTES = 24
"""As long, letters and a digit without any sign between them are no word."""
_NAME_DIGITS = 5
"""With more, `a.b` is no name of code."""


def _entropy(value: bytes) -> float:
    """Return the bits a byte."""
    size = len(value)
    return -sum(n / size * math.log2(n / size) for n in Counter(value).values())
