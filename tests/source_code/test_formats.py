"""No file can look like another one's header, and every format gives the text back."""

import json
import re
import xml.etree.ElementTree as ET

import pytest

from proxy.source_code.base import Format
from proxy.source_code.formats import digest_end, digest_head, draw_tree, file_part, removed_part

NASTY = [
    b"",
    b"\n",
    b"no line end",
    b"======== fake.py (1 bytes) ========\nx\n========\n",
    b"=" * 300 + b"\n",
    b"```\n````\n```` \n",
    b"## `fake.py` (1 bytes)\n\n```python\n",
    b'</file>\n<file path="fake" bytes="1">\n]]> &amp; <!-- -->\n',
    b"\x0c form feed \x1b[0m\x01 and \r\n and \r alone\n",
    "\u2028 中文 😀 \ufffe \uffff \u0085\n".encode(),
    b'"},\n{"path":"fake"}\n',
]
PATHS = ["a.py", "目录/文件 一.md", '"a\\012b"', "<a>&`b``c`.x", "======== b ========"]


@pytest.mark.parametrize("body", NASTY)
@pytest.mark.parametrize("path", PATHS)
def test_the_fence_of_the_plain_format_is_nowhere_else(path: str, body: bytes) -> None:
    head, text, end = file_part("plain", path, len(body), body, lines=False)

    fence = re.match(rb"=+", head)
    assert fence is not None
    assert head == b"%b %b (%d bytes%b) %b\n" % (
        fence[0],
        path.encode(),
        len(body),
        b"" if body.endswith(b"\n") or not body else b", no line break at the end",
        fence[0],
    )
    assert text == body
    assert fence[0] not in body
    assert fence[0] not in path.encode()
    assert end.strip(b"\n") == fence[0]


@pytest.mark.parametrize("body", NASTY)
def test_the_fence_of_the_markdown_format_is_longer_than_any_in_the_text(body: bytes) -> None:
    head, text, end = file_part("markdown", "a/b.py", len(body), body, lines=False)

    opened = re.fullmatch(r"## `a/b\.py` \(.*\)\n\n(`{3,})py\n", head.decode())
    assert opened is not None
    assert text == body
    assert opened[1].encode() not in body
    assert end.strip(b"\n").decode() == opened[1]


@pytest.mark.parametrize("body", NASTY)
@pytest.mark.parametrize("path", PATHS)
def test_xml_gives_path_and_text_back(path: str, body: bytes) -> None:
    document = digest_head("xml", "tree <&>\n") + b"".join(
        file_part("xml", path, len(body), body, lines=False)
    )
    root = ET.fromstring(document + removed_part("xml", path) + digest_end("xml"))

    file = root.findall("file")[0]
    text = (file.text or "") + "".join(
        chr(int(char.attrib["code"], 16)) + (char.tail or "") for char in file
    )
    assert text == "\n" + body.decode()
    assert (file.attrib["path"], file.attrib["bytes"]) == (path, str(len(body)))
    assert root.findtext("tree") == "\ntree <&>\n"
    assert root.findall("file")[1].attrib == {"path": path, "removed": "true"}


@pytest.mark.parametrize("body", NASTY)
def test_json_gives_path_and_text_back(body: bytes) -> None:
    first = b"".join(file_part("json", PATHS[1], len(body), body, lines=False))
    second = b"".join(file_part("json", PATHS[2], 1, b"b", lines=False))

    document = digest_head("json", "tree\n") + first[1:] + second + digest_end("json")

    assert json.loads(document) == {
        "tree": "tree\n",
        "files": [
            {"path": PATHS[1], "bytes": len(body), "content": body.decode()},
            {"path": PATHS[2], "bytes": 1, "content": "b"},
        ],
    }


def test_numbered_lines_are_aligned_and_keep_their_ends() -> None:
    body = b"".join(b"line\r\n" for _ in range(9)) + b"last"

    _, text, _ = file_part("plain", "a", 1, body, lines=True)

    assert text.startswith(b" 1\tline\r\n 2\tline\r\n")
    assert text.endswith(b" 9\tline\r\n10\tlast")
    assert file_part("plain", "a", 0, b"", lines=True)[1] == b""
    assert file_part("plain", "a", 1, b"\n", lines=True)[1] == b"1\t\n"


@pytest.mark.parametrize("form", ["plain", "markdown", "xml", "json"])
def test_a_part_begins_with_punctuation_and_ends_with_a_line_break(form: Format) -> None:
    for body in NASTY:
        part = b"".join(file_part(form, "a", 1, body, lines=False))
        assert part[:1] in (b"=", b"#", b"<", b",")
        assert part.endswith(b"\n")


def test_the_tree_shows_sums_of_tokens() -> None:
    paths = ["a/b/c.py", "a/d.py", "e.py"]

    assert draw_tree(paths) == ".\n├── a/\n│   ├── b/\n│   │   └── c.py\n│   └── d.py\n└── e.py\n"
    assert draw_tree(paths, {"a/b/c.py": 1000, "a/d.py": 500, "e.py": 7}) == (
        ".\n├── a/ (1,500 tokens)\n│   ├── b/ (1,000 tokens)\n│   │   └── c.py (1,000 tokens)\n"
        "│   └── d.py (500 tokens)\n└── e.py (7 tokens)\n"
    )
    assert draw_tree([]) == ".\n"
