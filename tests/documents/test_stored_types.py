"""What is read of a collection has exactly the fields that its class stores."""

import types
from datetime import datetime
from typing import (
    Annotated,
    Any,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import pytest
from pydantic import BaseModel

from proxy.database import DOCUMENTS, Database
from proxy.documents.api_key import ApiKey, StoredKey
from proxy.documents.base import Raw, Stored, utc_now
from proxy.documents.conversation import Conversation, StoredConversation
from proxy.documents.document_reference import ProjectReferences, StoredReferences
from proxy.documents.message import Message, StoredMessage
from proxy.documents.message_page import MessagePage, StoredPage, Tail
from proxy.documents.message_revision import MessageRevision, StoredRevision
from proxy.documents.plan_category import PlanCategory, StoredCategory
from proxy.documents.plan_document import PlanDocument, StoredPlanDocument
from proxy.documents.plan_draft import PlanDraft, StoredPlanDraft
from proxy.documents.plan_file import PlanFile, StoredPlanFile
from proxy.documents.project import Project, StoredProject
from proxy.documents.usage import StoredUsage, Usage
from proxy.documents.user import Session, StoredSession, StoredUser, User

TYPES: list[tuple[type[BaseModel], type[Any]]] = [
    (ApiKey, StoredKey),
    (Conversation, StoredConversation),
    (Message, StoredMessage),
    (MessagePage, StoredPage),
    (MessageRevision, StoredRevision),
    (PlanCategory, StoredCategory),
    (PlanDocument, StoredPlanDocument),
    (PlanDraft, StoredPlanDraft),
    (PlanFile, StoredPlanFile),
    (Project, StoredProject),
    (ProjectReferences, StoredReferences),
    (Session, StoredSession),
    (Usage, StoredUsage),
    (User, StoredUser),
]

COUNTS = set(StoredUsage.__annotations__) - {"_id", "owner", "day", "key_id", "project_id", "model"}
"""Of `Usage`, which no class writes: `$inc` makes the counts that there are."""

SAMPLES: dict[Any, Any] = {int: 1, str: "user", list: [], dict: {}, datetime: utc_now()}


def plain(hint: Any, *, without_none: bool = False) -> Any:
    """Return a type as both sides can name it: no marks, any other `TypedDict` as a dict."""
    origin = get_origin(hint)
    if origin in (Annotated, NotRequired):
        return plain(get_args(hint)[0], without_none=without_none)
    if origin in (Union, types.UnionType):
        parts = [each for each in get_args(hint) if not (without_none and each is type(None))]
        return frozenset().union(*map(plain, parts))
    if origin is list:
        return frozenset({(list, *map(plain, get_args(hint)))})
    is_model = isinstance(hint, type) and issubclass(hint, BaseModel)
    is_open = origin is dict and get_args(hint) == (str, Any)
    return frozenset({dict if is_typeddict(hint) or is_model or is_open else hint})


def fields_of(document: type[BaseModel]) -> dict[str, Any]:
    """Return the fields of a class under the names that they are stored by."""
    hints = get_type_hints(document, include_extras=True)
    names = [name for name in document.model_fields if name != "revision_id"]
    is_root = issubclass(document, Stored)
    return {"_id" if is_root and name == "id" else name: hints[name] for name in names}


def written_by(document: type[BaseModel]) -> Any:
    """Make one of which only what must be given is given."""
    hints = get_type_hints(document)
    given: Raw = {}
    for name, field in document.model_fields.items():
        if field.is_required():
            kind = get_origin(hints[name]) or hints[name]
            given[name] = SAMPLES.get(kind, "user")
    return document(**given)


def test_every_collection_of_the_list_is_one_of_the_database() -> None:
    documents = {document for document, _ in TYPES if document is not Message}
    assert documents <= set(DOCUMENTS)


@pytest.mark.parametrize(("document", "stored"), TYPES, ids=lambda each: each.__name__)
def test_a_stored_type_has_the_fields_of_its_class(
    document: type[BaseModel], stored: type[Any]
) -> None:
    fields = fields_of(document)
    hints = get_type_hints(stored, include_extras=True)
    assert set(hints) == set(fields)
    for name, hint in fields.items():
        if name == "_id" and hints[name] is Any:
            # Made by the database.
            continue
        without_none = name in stored.__optional_keys__
        assert plain(hints[name]) == plain(hint, without_none=without_none), name


@pytest.mark.parametrize(
    ("document", "stored"),
    [pair for pair in TYPES if hasattr(pair[0], "raw")],
    ids=lambda each: each.__name__,
)
async def test_what_a_class_always_stores_is_required_and_nothing_else(
    mock: Database, document: type[BaseModel], stored: type[Any]
) -> None:
    await mock.prepare(indexes=False)
    written = written_by(document).raw()
    assert set(written) == set(stored.__required_keys__)


@pytest.mark.parametrize(
    ("document", "stored", "absent"),
    [
        (MessagePage, StoredPage, set()),
        (MessageRevision, StoredRevision, set()),
        (PlanFile, StoredPlanFile, set()),
        (ProjectReferences, StoredReferences, set()),
        (Session, StoredSession, set()),
        (Usage, StoredUsage, COUNTS),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_what_is_written_by_an_operator_is_required_unless_it_only_grows(
    document: type[BaseModel], stored: type[Any], absent: set[str]
) -> None:
    assert set(stored.__optional_keys__) == absent
    assert set(stored.__required_keys__) == set(fields_of(document)) - absent


def test_a_move_to_a_page_reads_fields_of_a_conversation() -> None:
    conversation = get_type_hints(StoredConversation)
    for name, hint in get_type_hints(Tail).items():
        assert conversation[name] == hint, name
