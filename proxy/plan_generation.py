"""A plan document written by a model: from a conversation, from documents, or from a text.

The reply runs as a task of the server like that of a turn; where a turn stores a message,
this stores the next version of a file. Whatever way the reply ended, text that arrived is
stored, and `provenance.status` says so when it is not complete.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from proxy.documents.base import Raw
from proxy.documents.conversation import Conversation, is_settled
from proxy.documents.counter import Counter
from proxy.documents.page import MessagePage
from proxy.documents.place import MessageNotFound, Place, attempt_name
from proxy.documents.plan_category import PlanCategory
from proxy.documents.plan_document import PlanDocument
from proxy.documents.project import Project
from proxy.documents.reference import CONTEXT_BYTES
from proxy.engine import Engine
from proxy.errors import TooLarge, Unprocessable
from proxy.generation import Generation
from proxy.plan_template import fill
from proxy.plan_text import merged
from proxy.prompt import MESSAGE_OVERHEAD_TOKENS, REPLY_SHARE
from proxy.providers.base import CompletionRequest
from proxy.providers.registry import Registry
from proxy.settings import Settings
from proxy.tokens import count_tokens, count_tokens_of_each
from proxy.turns import Reply

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


@dataclass(slots=True)
class Outcome:
    """The stored document, once there is one."""

    document: Raw | None = None


@dataclass(frozen=True, slots=True)
class DocumentPlace(Place):
    """Where a generation stores its reply: in a plan document under a reserved id."""

    plan_document_id: int = 0
    file: Raw = field(default_factory=dict)
    provenance: Raw = field(default_factory=dict)
    outcome: Outcome = field(default_factory=Outcome)

    async def write(
        self,
        attempt: str,
        fields: Raw,
        *,
        unset: tuple[str, ...] = (),
        conversation_fields: Raw | None = None,
        counts_as_change: bool = False,
        touch: bool = True,
    ) -> bool:
        """Store the version when the reply has ended with some text; safe to repeat."""
        if "status" not in fields or not fields["content"]:
            return True
        provenance = {
            **self.provenance,
            "model": fields["model"],
            "provider": fields["provider"],
        }
        if fields["status"] != "complete":
            provenance["status"] = fields["status"]
        self.outcome.document = await PlanDocument.create_version(
            self.owner,
            self.file,
            {"content": fields["content"], "source": "chat", "provenance": provenance},
            id_=self.plan_document_id,
        )
        return True


@dataclass(frozen=True, slots=True)
class Source:
    """The text that a document is made of, and what is remembered of where it came from."""

    text: str
    provenance: Raw
    project_id: int = 0


async def begin_plan(
    owner: str, plan: NewPlan, *, settings: Settings, registry: Registry, engine: Engine
) -> tuple[Reply, Outcome]:
    """Fill the category's template and start the generation of the document.

    Raises:
        NotFound: the category, the conversation, a message, a document or the model.
        TooLarge: what was chosen does not fit into the model's window.
    """
    engine.check_open()
    category = await PlanCategory.get_one(owner, plan.category_id)
    routes = await registry.resolve(
        plan.model or category["summary_model"] or registry.default_model
    )
    window = settings.model_context_tokens(routes[0].model)
    budget = window - window // REPLY_SHARE - count_tokens(category["prompt_template"])
    source = await _source(owner, plan, budget)
    project_id = source.project_id if plan.project_id is None else plan.project_id
    prompt = fill(
        category["prompt_template"], doc=source.text, env=await _environment(owner, project_id)
    )
    message_id = await Counter.reserve("messages")
    place = DocumentPlace(
        owner,
        plan.conversation_id,
        "",
        plan_document_id=await Counter.reserve("plan_documents"),
        file={
            "project_id": project_id,
            "category_id": plan.category_id,
            "filename": plan.filename,
        },
        provenance={**source.provenance, "category_id": plan.category_id},
    )
    generation = Generation(
        place=place,
        message_id=message_id,
        attempt=attempt_name(message_id, 0),
        user_message_id=None,
        routes=routes,
        request=CompletionRequest(
            model=routes[0].model,
            messages=[{"role": "user", "content": prompt}],
            conversation_id=plan.conversation_id,
            message_id=str(message_id),
        ),
        settings=settings,
    )
    engine.launch(generation)
    return Reply(plan.conversation_id, None, message_id, generation), place.outcome


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
    """The newest messages that fit, or all the named ones; what was said, by whom."""
    conversation = await Conversation.with_tail(owner, plan.conversation_id)
    named = set(plan.message_ids)
    kept: list[Raw] = []
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
        costs = await asyncio.to_thread(count_tokens_of_each, texts)
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
    provenance: Raw = {
        "conversation_id": plan.conversation_id,
        "message_ids": [m["id"] for m in kept],
        "message_revisions": [m.get("revision", 0) for m in kept],
    }
    if is_cut:
        provenance["omits_older_messages"] = True
    text = "\n\n".join(f"{SPEAKERS[m['role']]}：\n{m['content']}" for m in kept)
    return Source(text, provenance, conversation["project_id"])


async def _newest_first(owner: str, conversation: Raw) -> AsyncIterator[list[Raw]]:
    yield [m for m in conversation["messages"] if m["id"] != conversation["system_message_id"]]
    pages = MessagePage.backward(owner, conversation["_id"], conversation["page_count"])
    async for page in pages:
        yield page["messages"]
