"""A plan document written by a model: from a conversation, from documents, or from a text.

The reply runs as a task of the server like that of a turn; where a turn stores a message,
this stores the next version of a file, and until then a draft. Whatever way the reply ended,
text that arrived is stored, and `provenance.status` says so when it is not complete.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import cast

from proxy.caller import current_caller
from proxy.documents.base import Raw
from proxy.documents.conversation import Conversation, StoredConversation, is_settled
from proxy.documents.counter import Counter
from proxy.documents.document_reference import CONTEXT_BYTES
from proxy.documents.message import MessageFields, StoredMessage, attempt_name
from proxy.documents.message_location import MessageNotFound
from proxy.documents.message_page import MessagePage
from proxy.documents.plan_category import PlanCategory
from proxy.documents.plan_document import PlanDocument, Provenance, StoredPlanDocument
from proxy.documents.plan_draft import DraftAsReply, PlanDraft, StoredPlanDraft, key_hash
from proxy.documents.plan_file import PlanFileName
from proxy.documents.project import Project
from proxy.errors import TooLarge, Unprocessable
from proxy.plans.template import fill, merged
from proxy.providers.base import CompletionRequest
from proxy.providers.registry import Registry
from proxy.settings import Settings
from proxy.streaming.engine import Engine
from proxy.streaming.reply import KeyReused, Reply
from proxy.tokenizer.tokens import token_counts
from proxy.turns.prompt import MESSAGE_OVERHEAD_TOKENS, REPLY_SHARE

SPEAKERS = {"user": "用户", "assistant": "助手"}
"""Whose messages a document is made of, and what they are called in its prompt."""


@dataclass(frozen=True, slots=True)
class NewPlan:
    """What a client asks for; one of `conversation_id`, `document_ids`, `content` is given.

    `message_ids` names some messages of the conversation; `project_id` None is its project.
    """

    category_id: int
    filename: str
    project_id: int | None = None
    model: str = ""
    conversation_id: str = ""
    message_ids: Sequence[int] = ()
    document_ids: Sequence[int] = ()
    content: str = ""
    idempotency_key: str | None = None
    fingerprint: str = ""


@dataclass(slots=True)
class DraftSink:
    """The draft of a plan document; in the end its text becomes a version of the file.

    A document outlives the conversation that it is made of, so it is part of none.
    """

    owner: str
    draft: PlanDraft
    document: StoredPlanDocument | None = None
    """The stored version, once there is one."""
    conversation_id: str = ""

    async def write(self, fields: Raw, *, is_final: bool) -> bool:
        """Checkpoint the draft; at the end store the version if there is text; safe to repeat."""
        draft = self.draft
        if not is_final:
            await PlanDraft.checkpoint(draft.id, fields["content"])
            return True
        if fields.get("content") and self.document is None:
            provenance: Provenance = {
                **cast(Provenance, draft.provenance),
                "model": fields["model"],
                "provider": fields["provider"],
            }
            if fields["status"] != "complete":
                provenance["status"] = fields["status"]
            self.document = await PlanDocument.create_version(
                self.owner,
                cast(PlanFileName, draft.file),
                {"content": fields["content"], "source": "chat", "provenance": provenance},
                id_=draft.document_id,
            )
        ending: Raw = {
            key: fields[key] for key in ("status", "finish_reason", "error") if key in fields
        }
        ending.update(document_id=draft.document_id, is_stored=self.document is not None)
        await PlanDraft.end(draft.id, ending)
        return True

    async def make_room(self) -> bool:
        """Say that there is none: a document has nothing beside it that could move."""
        return False


@dataclass(frozen=True, slots=True)
class Source:
    """The text that a document is made of, and what is recorded of where it came from."""

    text: str
    provenance: Provenance
    project_id: int = 0


def document_of(reply: Reply, message: MessageFields) -> StoredPlanDocument | None:
    """Return the version that a reply became; `message` are its stored fields."""
    sink = reply.generation.sink if reply.generation is not None else None
    if isinstance(sink, DraftSink):
        return sink.document
    return cast(DraftAsReply, message).get("document")


async def begin_plan(
    owner: str, plan: NewPlan, *, settings: Settings, registry: Registry, engine: Engine
) -> Reply:
    """Fill the category's template and start the generation of the document.

    Raises:
        NotFound: the category, the conversation, a message, a document or the model.
        TooLarge: what was chosen does not fit into the model's window.
        KeyReused: the idempotency key was used with another body.
    """
    engine.check_open()
    key = key_hash(owner, plan.idempotency_key) if plan.idempotency_key else None
    if key and (earlier := await PlanDraft.with_key(owner, key)):
        return _joined(earlier, plan, engine)
    category = await PlanCategory.get_one(owner, plan.category_id)
    model = await registry.wanted(plan.model, category["summary_model"])
    routes = await registry.resolve(model)
    window = registry.context_tokens(model, routes[0])
    (template_tokens,) = await token_counts([category["prompt_template"]])
    budget = window - window // REPLY_SHARE - template_tokens
    source = await _source(owner, plan, budget)
    project_id = source.project_id if plan.project_id is None else plan.project_id
    prompt = fill(
        category["prompt_template"], doc=source.text, env=await _environment(owner, project_id)
    )
    caller = current_caller.get()
    message_id = await Counter.reserve("messages")
    document_id = await Counter.reserve("plan_documents", 2)
    draft = PlanDraft(
        id=message_id,
        owner=owner,
        document_id=document_id,
        part_id=document_id + 1,
        file={
            "project_id": project_id,
            "category_id": plan.category_id,
            "filename": plan.filename,
        },
        provenance={
            **source.provenance,
            "category_id": plan.category_id,
        },
        provider=routes[0].provider.name,
        model=routes[0].model,
        attempt=attempt_name(message_id, 0),
        worker=engine.worker_id,
        key_id=caller.key_id if caller and caller.key_id else None,
        key=key,
        body=plan.fingerprint if key else None,
    )
    while not await draft.begin():
        # A copy of the request was quicker.
        if key and (earlier := await PlanDraft.with_key(owner, key)):
            return _joined(earlier, plan, engine)
    generation = engine.begin(
        sink=DraftSink(owner, draft),
        message_id=message_id,
        attempt=draft.attempt,
        routes=routes,
        request=CompletionRequest(
            model=routes[0].model,
            messages=[{"role": "user", "content": prompt}],
            conversation_id=plan.conversation_id,
            message_id=str(message_id),
        ),
        project_id=project_id,
    )
    return Reply(plan.conversation_id, None, message_id, generation)


def _joined(draft: StoredPlanDraft, plan: NewPlan, engine: Engine) -> Reply:
    if draft.get("body") != plan.fingerprint:
        raise KeyReused
    id_ = draft["_id"]
    return Reply(plan.conversation_id, None, id_, engine.running.get(id_))


async def _environment(owner: str, project_id: int) -> str:
    project = await Project.of(owner).find_one({"_id": project_id}, {"dev_environment": 1})
    return str(project["dev_environment"]) if project else ""


async def _source(owner: str, plan: NewPlan, budget_tokens: int) -> Source:
    if plan.conversation_id:
        return await _conversation_source(owner, plan, budget_tokens)
    if plan.document_ids:
        ids = list(plan.document_ids)
        documents = await PlanDocument.get_many(owner, ids, CONTEXT_BYTES)
        text = documents[0]["content"] if len(documents) == 1 else merged(documents)
        return Source(text, {"document_ids": ids}, documents[0]["project_id"])
    return Source(plan.content, {})


async def _conversation_source(owner: str, plan: NewPlan, budget_tokens: int) -> Source:
    """Return the newest messages that fit, or all the named ones; what was said, by whom."""
    conversation = await Conversation.with_tail(owner, plan.conversation_id)
    named = set(plan.message_ids)
    kept: list[StoredMessage] = []
    is_cut = False
    async for batch in _newest_first(owner, conversation):
        messages = [
            m
            for m in batch
            if m["role"] in SPEAKERS
            and is_settled(m)
            and m["content"]
            and (not named or m["id"] in named)
        ]
        texts = [m["content"] for m in messages]
        costs = await token_counts(texts)
        for message, cost in zip(reversed(messages), reversed(costs), strict=True):
            budget_tokens -= cost + MESSAGE_OVERHEAD_TOKENS
            if budget_tokens < 0:
                is_cut = True
                break
            kept.append(message)
        if is_cut or (named and len(kept) == len(named)):
            break
    if is_cut and (named or not kept):
        raise TooLarge("These messages are longer than the model accepts; choose fewer of them")
    if len(kept) < len(named):
        raise MessageNotFound
    if not kept:
        raise Unprocessable(
            "This conversation has no messages yet to make a document of", param="conversation_id"
        )
    kept.reverse()
    provenance: Provenance = {
        "conversation_id": plan.conversation_id,
        "message_ids": [m["id"] for m in kept],
        "message_revisions": [m.get("revision", 0) for m in kept],
    }
    if is_cut:
        provenance["omits_older_messages"] = True
    text = "\n\n".join(f"{SPEAKERS[m['role']]}：\n{m['content']}" for m in kept)
    return Source(text, provenance, conversation["project_id"])


async def _newest_first(
    owner: str, conversation: StoredConversation
) -> AsyncIterator[list[StoredMessage]]:
    yield [m for m in conversation["messages"] if m["id"] != conversation["system_message_id"]]
    pages = MessagePage.backward(owner, conversation["_id"], conversation["page_count"])
    async for page in pages:
        yield page["messages"]
