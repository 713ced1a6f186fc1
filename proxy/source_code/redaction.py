"""Take secrets out of a text, in place, and count them.

A fast search for the fixed parts of all rules goes first; a rule's expression then only
sees the line around what was found. So a text costs little more than reading it, and no
text, however hostile, keeps one expression busy for long.
"""

import base64
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache

from ahocorasick_rs import BytesAhoCorasick, Implementation

from proxy.source_code.named_secrets import HEADER_NEEDLES, NEEDLES, assigned, in_header
from proxy.source_code.secret_rules import (
    KEY_BYTES,
    PRIVATE_KEY_NEEDLES,
    RULES,
    SecretRule,
    assignments,
    harmless_value,
    holds_variables,
    is_placeholder,
    is_secret_name,
    netrc_passwords,
    pgpass_passwords,
    private_key_body,
    putty_body,
    token_tail,
)

_BLOCK_BYTES = 256 * 1024
_OVERLAP_BYTES = 32
_BEFORE_BYTES = 128
_AFTER_BYTES = 1024
_WORD = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
# What ends just before a token though its last character is a letter or a digit: `\n`, `%20`,
# `=3D`, `\u0022`.
_escape_before = re.compile(rb"(?:\\[nrtbfv0]|[%=][0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4})\Z").search
_ENCODED_PEM, _JWK = b"LS0tLS1CRUdJTi", b'"kty"'
_encoded = re.compile(rb"[A-Za-z0-9+/=]{64,65536}+").match
_jwk_secrets = re.compile(
    rb""""(?:d|p|q|dp|dq|qi|k)"[ \t\r\n]{0,20}:[ \t\r\n]{0,20}"([A-Za-z0-9_-]{16,8192})"(?!\w)"""
).finditer
_JWK_BYTES = 4096
_NAMED = "secret variable"
_AROUND_KEY = b" \t\r\n\"'+,.()#*>|;-\\"
_TRIM = frozenset(b" \t\r\n=:\"'`")

_Span = tuple[int, int, str]


def redact(
    text: bytes, name: str, check: Callable[[], None] = lambda: None
) -> tuple[bytes, dict[str, int]]:
    """Return the text with `[REDACTED: <what>]` for each secret, and how many of each there were.

    `text` is UTF-8; `name` is the file's, for the files that hold variables. Line breaks
    inside of a secret stay, so the numbers of lines do not move. `check` is called between
    two steps, each of some milliseconds at most; what it raises ends the work.
    """
    spans = list(_spans(text, name, check))
    if holds_variables(name):
        spans.extend(_variables(text, name, check))
    if not spans:
        return text, {}
    # A token's own name says more than that of a variable.
    spans.sort(key=lambda span: (span[0], span[2] == _NAMED, -span[1]))
    counts: Counter[str] = Counter()
    out: list[bytes] = []
    done = 0
    for start, end, label in spans:
        if end <= done:
            continue
        counts[label] += start >= done
        begin = max(start, done)
        out.append(text[done:begin])
        if start >= done:
            out.append(f"[REDACTED: {label}]".encode())
        out.append(b"\n" * text.count(b"\n", begin, end))
        done = end
    out.append(text[done:])
    return b"".join(out), dict(counts)


@cache
def _search() -> tuple[BytesAhoCorasick, list[list[int]], int, int]:
    """Return the search, the rules of each needle, the first needle of a key, and of a name."""
    needles: dict[bytes, list[int]] = {}
    for number, rule in enumerate(RULES):
        for needle in rule.needles:
            needles.setdefault(needle, []).append(number)
    others = (*PRIVATE_KEY_NEEDLES, _ENCODED_PEM, _JWK, *HEADER_NEEDLES, *NEEDLES)
    # With that many needles, the default costs twice the time.
    found = BytesAhoCorasick([*needles, *others], implementation=Implementation.DFA)
    first_name = len(needles) + len(others) - len(NEEDLES)
    return found, list(needles.values()), len(needles), first_name


def _others(text: bytes, name: str, at: int, number: int) -> Iterator[_Span]:
    """Find what no single expression tells, by the number of its needle."""
    kinds = len(PRIVATE_KEY_NEEDLES)
    if number >= kinds + 2:
        if found := in_header(text, at):
            yield *found, _NAMED
    elif number < kinds:
        yield from _private_key(text, at)
    elif number == kinds:
        yield from _encoded_key(text, at)
    else:
        begin = max(text.rfind(b"{", max(at - _JWK_BYTES, 0), at), at - _JWK_BYTES, 0)
        end = text.find(b"}", at, at + _JWK_BYTES)
        for match in _jwk_secrets(text, begin, end if end >= 0 else at + _JWK_BYTES):
            yield *match.span(1), "private key"


def _encoded_key(text: bytes, at: int) -> Iterator[_Span]:
    match = _encoded(text, at)
    if match and b"PRIVATE KEY" in base64.b64decode(match[0][:64]):
        yield *match.span(), "private key"


def _spans(  # noqa: PLR0912
    text: bytes, name: str, check: Callable[[], None]
) -> Iterator[_Span]:
    search, rules, first_key, first_name = _search()
    done = [0] * len(RULES)
    taken = 0
    for begin, end in _blocks(text):
        check()
        for needle, start, _ in search.find_matches_as_indexes(text[begin:end], overlapping=True):
            at = begin + start
            if at < taken:
                # Within what a rule took already; else a chain of needles is quadratic.
                continue
            if needle >= first_name:
                # By far the most hits.
                check()
                if found := assigned(text, at, name):
                    yield *found, _NAMED
                continue
            check()
            if needle >= first_key:
                for span in _others(text, name, at, needle - first_key):
                    if span[2] != _NAMED:
                        taken = max(taken, span[1])
                    yield span
                continue
            for number in rules[needle]:
                rule = RULES[number]
                if done[number] > at or (rule.token and not rule.plugin and _in_word(text, at)):
                    continue
                if not (match := rule.here.match(text, at)):
                    continue
                if rule.plugin:
                    left, right, done[number] = _window(text, at)
                    yield from _search_line(rule, text, left, right)
                else:
                    for span in _secret(rule, text, *match.span(rule.group)):
                        taken = max(taken, span[1])
                        yield span


def _blocks(text: bytes) -> Iterator[tuple[int, int]]:
    """Yield the text in pieces, each but the last ending with a line where lines are short."""
    begin = 0
    while begin < len(text):
        end = begin + _BLOCK_BYTES
        if end >= len(text):
            yield begin, len(text)
            return
        line = text.rfind(b"\n", begin, end) + 1
        yield begin, line or end
        begin = line or end - _OVERLAP_BYTES


def _window(text: bytes, at: int) -> tuple[int, int, int]:
    """Return the line around `at` or a part of it, and from where a rule must be tried again."""
    left = max(text.rfind(b"\n", max(at - _BEFORE_BYTES, 0), at) + 1, at - _BEFORE_BYTES, 0)
    right = text.find(b"\n", at, at + _AFTER_BYTES)
    if right >= 0:
        return left, right, right
    right = min(at + _AFTER_BYTES, len(text))
    return left, right, right if right == len(text) else at + _AFTER_BYTES // 2


def _search_line(rule: SecretRule, text: bytes, left: int, right: int) -> Iterator[_Span]:
    for match in rule.pattern.finditer(text[left:right].decode("ascii", "replace")):
        start, end = match.span(rule.group)
        yield from _secret(rule, text, left + start, left + end)


def _secret(rule: SecretRule, text: bytes, start: int, end: int) -> Iterator[_Span]:
    while start < end and text[start] in _TRIM:
        start += 1
    while start < end and text[end - 1] in _TRIM:
        end -= 1
    if rule.token:
        if _in_word(text, start):
            return
        tail = token_tail(text, end)
        end = tail.end() if tail else end
    if start < end and not is_placeholder(text[start:end]):
        yield start, end, rule.label


def _in_word(text: bytes, at: int) -> bool:
    if at == 0 or text[at - 1] not in _WORD or text[at - 1] == 0x5F:
        return False
    return _escape_before(text, max(at - 6, 0), at) is None


def _private_key(text: bytes, at: int) -> Iterator[_Span]:
    if b"BEGIN" not in text[max(at - 24, 0) : at] and not text.startswith(b"PuTTY", at):
        return
    match = (putty_body if text.startswith(b"PuTTY", at) else private_key_body)(text, at)
    if match is not None and len(body := match[1].strip(_AROUND_KEY)) >= KEY_BYTES:
        start = match.start(1) + match[1].index(body)
        yield start, start + len(body), "private key"


def _variables(text: bytes, name: str, check: Callable[[], None]) -> Iterator[_Span]:
    for match in assignments(text):
        check()
        value = match[3]
        variable = match[1] or match[2]
        if harmless_value(value) or not is_secret_name(variable.decode("latin-1")):
            continue
        start, end = match.span(3)
        if len(value) > 2 and value[:1] in (b"'", b'"') and value[-1:] == value[:1]:
            start, end = start + 1, end - 1
        yield start, end, _NAMED
    if name.endswith("netrc"):
        for match in netrc_passwords(text):
            yield *match.span(1), _NAMED
    if "pgpass" in name:
        for match in pgpass_passwords(text):
            yield *match.span(1), _NAMED
