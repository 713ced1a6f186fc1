"""The prompt of a plan category, filled with a document and an environment."""

import re

PLACEHOLDER = re.compile(r"\{(doc|env)\}")


def fill(template: str, *, doc: str, env: str) -> str:
    """A template with `{doc}` and `{env}` replaced, once, from left to right.

    Nothing else in it means anything: other braces, `%`, `$` and backslashes stay, and what
    is inserted is not looked at again. A template without `{doc}` is followed by the document,
    so that the model always sees it.
    """
    texts = {"doc": doc, "env": env}
    filled = PLACEHOLDER.sub(lambda found: texts[found[1]], template)
    if "{doc}" not in template:
        filled = f"{filled}\n\n{doc}" if filled.strip() else doc
    return filled
