"""The prompt of a plan category, filled with a document and an environment; documents merged."""

import re
from collections.abc import Sequence

from proxy.documents.plan_document import StoredPlanDocument

PLACEHOLDER = re.compile(r"\{(doc|env)\}")


def fill(template: str, *, doc: str, env: str) -> str:
    """Return a template with `{doc}` and `{env}` replaced, once, from left to right.

    Nothing else in it means anything: other braces, `%`, `$` and backslashes stay, and what
    is inserted is not looked at again. A template without `{doc}` is followed by the document,
    so that the model always sees it.
    """
    texts = {"doc": doc, "env": env}
    filled = PLACEHOLDER.sub(lambda found: texts[found[1]], template)
    if "{doc}" not in template:
        filled = f"{filled}\n\n{doc}" if filled.strip() else doc
    return filled


def merged(documents: Sequence[StoredPlanDocument]) -> str:
    """Documents one after the other, each between lines that name it.

    `--- 方案.md- 版本[3] 开始 ---`, the content, the same line with `结束`; then a blank line.
    """
    return "\n\n".join(
        f"--- {name} 开始 ---\n{document['content']}\n--- {name} 结束 ---"
        for document in documents
        for name in (f"{document['filename']}- 版本[{document['version']}]",)
    )
