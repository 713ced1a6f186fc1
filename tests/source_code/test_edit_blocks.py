"""A model's reply read as changes to files."""

import pytest

from proxy.source_code.edit_blocks import Edit, read_edits

REPLY = """Here is what I would do:

Step [1/4] - 创建目录
Action: Create folder
File Path: 源码

------
### Step [2/4] - Say hello
**Action:** CREATE FILE
**File Path:** `源码/hello.py`

```python
print("你好")
```
------

Step [3/4] - Change it
action：update  file
file path：b.txt
```
one
```
Or, longer:
```text
one
two
```
------
Step [4/4] - Away
Action: Delete file
File Path: c.txt
------
That is all.
"""


def only(reply: str) -> Edit:
    (edit,) = read_edits(reply)
    return edit


def block(content: str, fence: str = "```") -> str:
    return f"Step [1/1] - t\nAction: Create file\nFile Path: f.md\n{fence}md\n{content}{fence}\n"


def test_every_block_of_a_reply_is_read_and_prose_is_not() -> None:
    edits = read_edits(REPLY)
    assert [(edit.action, edit.path, edit.content) for edit in edits] == [
        ("create_folder", "源码", ""),
        ("create_file", "源码/hello.py", 'print("你好")\n'),
        ("update_file", "b.txt", "one\ntwo\n"),
        ("delete_file", "c.txt", ""),
    ]
    assert [edit.problem for edit in edits] == [""] * 4
    assert edits[0].title == "Step [1/4] - 创建目录"
    assert edits[2].code_blocks == 2


@pytest.mark.parametrize(
    ("content", "fence"),
    [
        ("# T\n```bash\nrun\n```\n", "````"),
        ("~~~\nx\n~~~\n", "```"),
        ("Title\n------\ntext\n", "```"),
        ("# T\n```bash\nrun\n```\nand\n```bash\nagain\n```\n", "```"),
        ("------\nStep [1/2] - x\nAction: Delete file\nFile Path: q\n```py\nx\n```\n", "````"),
        ("``` is a fence ```\n", "```"),
        ("a\u2028b\n", "```"),
        ("", "```"),
    ],
)
def test_content_is_what_stands_between_the_fences(content: str, fence: str) -> None:
    edit = only(block(content, fence))
    assert (edit.problem, edit.content) == ("", content)


def test_an_indented_fence_takes_its_indentation_from_the_lines() -> None:
    reply = "Action: Create file\nFile Path: f\n  ```\n  a\n    b\n c\n  ```\n"
    assert only(reply).content == "a\n  b\nc\n"


def test_line_ends_of_windows_stay_in_the_content_alone() -> None:
    edit = only(block("a\n").replace("\n", "\r\n"))
    assert (edit.path, edit.content, edit.problem) == ("f.md", "a\r\n", "")


def test_a_reply_that_was_cut_in_a_code_block_swallows_no_other_step() -> None:
    cut = block("whole\n").removesuffix("```\n")
    again = block("again\n")
    for fence in ("```", "````"):
        reply = f"{cut}------\n{again}".replace("```", fence)
        first, second = read_edits(reply)
        assert "not closed" in first.problem
        assert (second.problem, second.content) == ("", "again\n")


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("Step [1/1]\nFile Path: a\n", "no line 'Action"),
        ("Step [1/1]\nAction: Run it\nFile Path: a\n", "'run it' is no action"),
        ("Step [1/1]\nAction: Delete file\n", "no line 'File Path"),
        ("Action: Delete file\nFile Path: ``\n", "no line 'File Path"),
        ("Action: Create file\nFile Path: a\ntext\n", "no fenced code block"),
        ("Action: Create file\nFile Path: a\n```\ntext\n", "not closed"),
    ],
)
def test_a_block_that_cannot_be_carried_out_says_why(reply: str, problem: str) -> None:
    assert problem in only(reply).problem


def test_steps_need_no_separator() -> None:
    reply = block("a\n") + block("b\n")
    assert [edit.content for edit in read_edits(reply)] == ["a\n", "b\n"]


@pytest.mark.slow
@pytest.mark.parametrize("line", ["````a\n", "```\n", "------\n\n", "Step [1/1]\n```a\n------\n"])
def test_a_hostile_reply_takes_time_that_grows_with_its_size(line: str) -> None:
    # With the square of its size this would take longer than a test may.
    read_edits(line * 30_000)
