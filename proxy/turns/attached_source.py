"""A project's source attached to one call."""

import asyncio
from dataclasses import dataclass

from proxy.documents.base import Raw
from proxy.documents.conversation import StoredConversation
from proxy.documents.project import Project, ProjectNotFound
from proxy.documents.source_manifest import SourceManifest
from proxy.errors import Conflict
from proxy.source_code.base import DigestOptions, SourceAttachment
from proxy.source_code.digests import Digests


@dataclass(frozen=True, slots=True)
class AttachedSource:
    """The text for the system prompt, and what is recorded of it on the reply."""

    text: str
    record: Raw
    manifest: dict[str, str]

    async def save_manifest(self, owner: str, conversation_id: str) -> None:
        """Let the conversation's next `since: last` build on it."""
        await SourceManifest.store(
            owner, conversation_id, str(self.record["sha256"]), self.manifest
        )


async def attach_source(
    digests: Digests, owner: str, conversation: StoredConversation, wanted: SourceAttachment
) -> AttachedSource:
    """Return the digest of the conversation's project, or what changed since the last attached one.

    Raises:
        Conflict: the conversation has no project, or the project no source directory.
        ProxyError: what `Digests.make` raises.
    """
    try:
        project = await Project.get_one(owner, conversation["project_id"])
    except ProjectNotFound:
        raise Conflict(
            "This conversation belongs to no project; set its project_id to attach source code"
        ) from None
    last = await SourceManifest.last(owner, conversation["_id"]) if wanted.since_last else None
    digest = await digests.make(
        owner,
        project.get("ai_work_dir"),
        DigestOptions(
            include=wanted.include,
            exclude=wanted.exclude,
            max_tokens=wanted.max_tokens,
            since=last[1] if last else None,
        ),
    )
    record: Raw = {
        "sha256": digest.sha256,
        "files": len(digest.file_rows),
        "tokens": digest.total_tokens,
    }
    if last is not None:
        record |= {"since": last[0], "unchanged": digest.unchanged, "removed": len(digest.removed)}
    text = await asyncio.to_thread(lambda: digest.text)
    return AttachedSource(text, record, digest.manifest)
