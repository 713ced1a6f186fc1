"""Texts made of several plan documents: a merge, and the context of a model's call."""

from collections.abc import Sequence

from proxy.documents.base import Raw


def merged(documents: Sequence[Raw]) -> str:
    """Documents one after the other, each between lines that name it.

    `--- 方案.md- 版本[3] 开始 ---`, the content, the same line with `结束`; then a blank line.
    """
    return "\n\n".join(
        f"--- {name} 开始 ---\n{document['content']}\n--- {name} 结束 ---"
        for document in documents
        for name in (f"{document['filename']}- 版本[{document['version']}]",)
    )


def document_context(documents: Sequence[Raw]) -> str:
    """What extends the system prompt of a call that takes documents along; empty without any.

    The same documents give the same bytes, so that providers can cache the prompt. A closing
    tag inside a content does not end the document: its own tag gets a longer name then.
    """
    parts = []
    for document in documents:
        content, tag = document["content"], "document"
        while f"</{tag}" in content:
            tag += "_"
        name = document["filename"].replace("&", "&amp;").replace('"', "&quot;")
        parts.append(f'<{tag} name="{name}" version="{document["version"]}">\n{content}\n</{tag}>')
    if not parts:
        return ""
    return "\n\n".join(["以下是随本次对话提供的参考文档（Reference documents）：", *parts])
