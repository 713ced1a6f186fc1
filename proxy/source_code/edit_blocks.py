"""The changes to files that a model's reply describes.

Step [1/2] - Add the entry point
Action: Create file
File Path: src/main.py
```python
print("hello")
```
------
Step [2/2] - …
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Action = Literal["create_folder", "delete_folder", "create_file", "update_file", "delete_file"]

ACTIONS: dict[str, Action] = {
    "create folder": "create_folder",
    "delete folder": "delete_folder",
    "create file": "create_file",
    "update file": "update_file",
    "delete file": "delete_file",
}

_SEPARATOR = re.compile(r"\s*-{6,}\s*")
_STEP = re.compile(r"[\s#>*_]*step\s*[\[［]\s*\d{1,9}\s*/\s*\d{1,9}\s*[\]］]", re.IGNORECASE)
_FIELD = re.compile(r"[\s#>*_+-]*(action|file\s*path)[\s*_]*[:：](.*)", re.IGNORECASE)
_FENCE = re.compile(r" {0,3}(`{3,16}|~{3,16})(?![`~])(.*)")
_DECORATION = " \t\r*_`\"'“”"


@dataclass(frozen=True, slots=True)
class Edit:
    """One block: what to do with which path; `problem` says why it cannot be carried out."""

    title: str
    action: Action | None = None
    path: str = ""
    content: str = ""
    code_blocks: int = 0
    problem: str = ""


def read_edits(reply: str) -> list[Edit]:
    """Read every block of a reply; prose before, between and behind them is left out."""
    return list(_Reader(reply.split("\n")).blocks())


class _Mark(NamedTuple):
    """A line that may begin or end a code block, or with `char` empty a separator and a step."""

    line: int
    char: str
    length: int
    has_info: bool


@dataclass(slots=True)
class _Block:
    title: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    contents: list[str] = field(default_factory=list)
    is_cut: bool = False

    def __bool__(self) -> bool:
        return bool(self.title or self.fields)

    def edit(self) -> Edit:
        """Return what the lines of the block say together."""
        wanted = " ".join(self.fields.get("action", "").lower().split())
        action, path = ACTIONS.get(wanted), self.fields.get("path", "")
        return Edit(
            title=self.title,
            action=action,
            path=path,
            content=max(self.contents, key=len, default=""),
            code_blocks=len(self.contents),
            problem=self._problem(wanted, action, path),
        )

    def _problem(self, wanted: str, action: Action | None, path: str) -> str:
        if not wanted:
            return "The block has no line 'Action: …'"
        if action is None:
            return f"'{wanted[:100]}' is no action; use {', '.join(ACTIONS)}"
        if not path:
            return "The block has no line 'File Path: …'"
        if action not in ("create_file", "update_file"):
            return ""
        if self.is_cut:
            return (
                "The code block is not closed; ask for this step again "
                "(a file that holds code blocks needs a longer fence around it)"
            )
        return "" if self.contents else "The block has no fenced code block with the content"


class _Reader:
    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._marks = list(self._find_marks())
        self._mark_at = {mark.line: index for index, mark in enumerate(self._marks) if mark.char}

    def blocks(self) -> Iterator[Edit]:
        block = _Block()
        position = 0
        while position < len(self._lines):
            line = self._lines[position]
            if position in self._mark_at:
                end, is_closed = self._code_block(self._mark_at[position])
                if is_closed:
                    block.contents.append(self._content(position, end))
                    position = end + 1
                else:
                    block.is_cut = True
                    position = end
                continue
            begins = _STEP.match(line)
            if block and (_SEPARATOR.fullmatch(line) or (begins and block.fields)):
                yield block.edit()
                block = _Block()
            if begins:
                block.title = block.title or line.strip(_DECORATION + "#>")
            elif found := _FIELD.match(line):
                name = "action" if found[1].lower() == "action" else "path"
                block.fields.setdefault(name, found[2].strip(_DECORATION))
            position += 1
        if block:
            yield block.edit()

    def _find_marks(self) -> Iterator[_Mark]:
        separator = -1
        for number, line in enumerate(self._lines):
            if separator >= 0 and line.strip() and not _SEPARATOR.fullmatch(line):
                if _STEP.match(line):
                    yield _Mark(separator, "", 0, False)
                separator = -1
            if found := _FENCE.match(line):
                char, info = found[1][0], found[2].strip()
                # A line such as ```x``` is text.
                if char == "~" or "`" not in info:
                    yield _Mark(number, char, len(found[1]), bool(info))
            elif _SEPARATOR.fullmatch(line):
                separator = number

    def _code_block(self, index: int) -> tuple[int, bool]:
        """Where a code block ends, and whether a fence does end it.

        As in CommonMark, but for two habits of models. A reply that was cut within a code block
        must not swallow the steps behind it: a separator with a step ends even an open code
        block, unless that has a longer fence than three and than any inside. And ```bash inside
        of ```markdown has an end of its own, where there are enough ends.
        """
        opening = self._marks[index]
        crossed: int | None = None
        inner, spare = 0, None
        for later in range(index + 1, len(self._marks)):
            mark = self._marks[later]
            if not mark.char:
                if opening.length == 3 or spare is not None:
                    return mark.line, False
                crossed = mark.line if crossed is None else crossed
            elif mark.char != opening.char or mark.length < opening.length:
                continue
            elif mark.has_info:
                if crossed is not None:
                    return crossed, False
                spare = self._spare_ends(later, opening) if spare is None else spare
                inner += spare > 0
                spare += 1
            elif inner:
                inner -= 1
                spare = (spare or 0) - 1
            else:
                return mark.line, True
        return len(self._lines) if crossed is None else crossed, False

    def _spare_ends(self, index: int, opening: _Mark) -> int:
        """How many more fences end a code block than begin one, up to the next step."""
        spare = 0
        for later in range(index, len(self._marks)):
            mark = self._marks[later]
            if not mark.char:
                break
            if mark.char == opening.char and mark.length >= opening.length:
                spare += -1 if mark.has_info else 1
        return spare

    def _content(self, start: int, end: int) -> str:
        """Return the text between two fences.

        As far as the opening one is indented, its lines are.
        """
        opening = self._lines[start]
        indent = len(opening) - len(opening.lstrip(" "))
        lines = self._lines[start + 1 : end]
        if indent:
            lines = [line[min(indent, len(line) - len(line.lstrip(" "))) :] for line in lines]
        return "".join(f"{line}\n" for line in lines)
