"""Pure texts: filled templates, contexts of a call, diffs."""

import difflib
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.documents.base import utc_now
from proxy.documents.plan_document import StoredPlanDocument
from proxy.plans.diff import unified_diff
from proxy.plans.template import fill
from proxy.turns.prompt import document_context


def test_a_template_keeps_everything_that_is_no_placeholder() -> None:
    template = "{ {doc} } {{x}} {0} %s %(a)s $doc ${env} \\1 \\g<0> {env} {docs} { env }"
    filled = fill(template, doc="D", env="E")
    assert filled == "{ D } {{x}} {0} %s %(a)s $doc $E \\1 \\g<0> E {docs} { env }"


def test_what_is_inserted_is_not_filled_again() -> None:
    assert fill("{doc}|{env}", doc="{env} {doc} \\1 %s", env="{doc}") == "{env} {doc} \\1 %s|{doc}"


def test_a_template_without_a_place_for_the_document_is_followed_by_it() -> None:
    assert fill("总结 {env}", doc="文", env="E") == "总结 E\n\n文"
    assert fill("", doc="文", env="") == "文"


@given(st.text(), st.text(), st.text(), st.text())
def test_filling_inserts_both_texts_whole(before: str, between: str, doc: str, env: str) -> None:
    before, between = [t.replace("{", "").replace("}", "") for t in (before, between)]
    assert (
        fill(f"{before}{{doc}}{between}{{env}}", doc=doc, env=env) == before + doc + between + env
    )


def _document(content: str, filename: str = "方案.md", version: int = 3) -> StoredPlanDocument:
    return {
        "_id": 1,
        "owner": "default",
        "project_id": 1,
        "category_id": 2,
        "filename": filename,
        "version": version,
        "content": content,
        "source": "user",
        "size_bytes": len(content.encode()),
        "created_at": utc_now(),
    }


def test_a_context_names_file_and_version_and_is_empty_without_documents() -> None:
    assert document_context([]) == ""
    context = document_context([_document("甲"), _document("乙", 'a "b".md', 1)])
    assert '<document name="方案.md" version="3">\n甲\n</document>' in context
    assert '<document name="a &quot;b&quot;.md" version="1">\n乙\n</document>' in context


@given(st.lists(st.sampled_from(["</document>", "</document_>", "<document", "x", "\n"])))
def test_a_document_cannot_end_its_own_context(parts: list[str]) -> None:
    content = "".join(parts)
    context = document_context([_document(content)])
    assert context == document_context([_document(content)])
    opening = context[context.index("\n\n<") + 3 :].split(" ", 1)[0]
    assert context.endswith(f"\n</{opening}>")
    assert context.count(f"</{opening}>") == 1


LINES = st.lists(st.sampled_from(["a", "b", "c", "", "甲", "x\u2028y", "\r"]), max_size=40)


def _apply(text: str, diff: str) -> str:
    """A reader of unified diffs, by the format's description in POSIX."""
    *ended, last = text.split("\n")
    old = [f"{line}\n" for line in ended] + ([last] if last else [])
    new: list[str] = []
    at = 0
    lines = diff.split("\n")[2:-1]
    for index, line in enumerate(lines):
        if line.startswith("@@"):
            start, _, count = line.split(" ")[1][1:].partition(",")
            begin = int(start) - (count != "0")
            new += old[at:begin]
            at = begin
            continue
        if line.startswith("\\"):
            continue
        bare = index + 1 < len(lines) and lines[index + 1].startswith("\\")
        value = line[1:] + ("" if bare else "\n")
        if line[0] != "+":
            assert old[at] == value
            at += 1
        if line[0] != "-":
            new.append(value)
    return "".join(new + old[at:])


@given(LINES, LINES, st.booleans(), st.booleans())
def test_a_diff_turns_the_one_text_into_the_other(
    a: list[str], b: list[str], a_ends: bool, b_ends: bool
) -> None:
    one = "\n".join(a) + "\n" * a_ends
    other = "\n".join(b) + "\n" * b_ends
    diff = unified_diff(one, other, "a", "b")
    assert _apply(one, diff) == other if diff else one == other


def test_a_diff_of_small_changes_is_what_others_make_of_it() -> None:
    a = [f"line {n}\n" for n in range(200)]
    b = [*a[:20], "new\n", *a[20:100], "changed\n", *a[101:150], *a[155:]]
    theirs = "".join(difflib.unified_diff(a, b, "a", "b"))
    assert unified_diff("".join(a), "".join(b), "a", "b") == theirs


@pytest.mark.skipif(shutil.which("patch") is None, reason="no patch program")
def test_patch_understands_a_diff(tmp_path: Path) -> None:
    a = "".join(f"{n % 7} {n % 13}\n" for n in range(3000))
    b = a.replace("3 5\n", "三 五\n").replace("6 12\n", "") + "no newline at the end"
    (tmp_path / "a").write_text(a)
    (tmp_path / "d").write_text(unified_diff(a, b, "a", "a"))
    subprocess.run(["patch", "-s", "a", "d"], cwd=tmp_path, check=True, timeout=30)
    assert (tmp_path / "a").read_text() == b


def test_a_diff_of_long_texts_does_not_grow_with_their_square() -> None:
    a = "".join(f"{n * 7919 % 300}\n" for n in range(60_000))
    b = "".join(f"{n * 104729 % 300}\n" for n in range(60_000))
    # In the square of the lines this would take hours.
    assert _apply(a, unified_diff(a, b, "a", "b")) == b


def test_a_diff_whose_time_is_up_is_a_longer_one_but_true() -> None:
    a = "".join(f"kept {n}\n" + "x\ny\n" * 30 for n in range(4))
    b = "".join(f"kept {n}\n" + "y\ny\nx\n" * 20 for n in range(4))
    whole = unified_diff(a, b, "a", "b")
    cut = unified_diff(a, b, "a", "b", seconds=0)
    assert len(cut) > len(whole)
    for diff in (whole, cut):
        assert _apply(a, diff) == b
