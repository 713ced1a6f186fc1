"""`/v1/search`: words in everything the owner has stored."""

from typing import Annotated

from fastapi import Query, Request

from proxy.caller import CallerInfo
from proxy.errors import BadRequest, Forbidden
from proxy.responses import Json
from proxy.schemas.search import DEFAULT_RESULTS, MAX_RESULTS, SearchOut, SearchParameters
from proxy.search.hits import Kind, Sort
from proxy.search.query import ADDRESS_CHARACTERS, parse
from proxy.search.request import DEFAULT_KINDS, KINDS, SORTS, Cursor, SearchRequest
from proxy.search.run import search
from proxy.web.dependencies import AppSettings, Caller, RequestLimits
from proxy.web.routes import api_router

router = api_router("/v1/search", tag="Search")

SCOPES: dict[Kind, str] = {
    "messages": "chat",
    "reasoning": "chat",
    "tools": "chat",
    "conversations": "chat",
    "documents": "plan",
    "projects": "project",
}
"""What a key needs to look there: the scope it needs to read it."""

FIELDS = [field.alias or name for name, field in SearchParameters.model_fields.items()]


@router.get("", response_model=SearchOut, response_model_by_alias=True, summary="Search")
async def search_everything(
    request: Request,
    caller: Caller,
    settings: AppSettings,
    limits: RequestLimits,
    parameters: Annotated[SearchParameters, Query()],
) -> Json:
    """Find words in messages, names, plan documents and tags; a Chinese character is enough.

    `sort=newest` gives every hit, the last stored first; `sort=relevance` the best hit of each
    conversation and of each file, with how many `more` it has.
    """
    asked = search_request(caller, parameters, ADDRESS_CHARACTERS)
    async with limits.searches:
        return await _answer(asked, settings.search_seconds, request)


@router.post("", response_model=SearchOut, summary="Search with a long query")
async def search_with_body(
    request: Request,
    caller: Caller,
    settings: AppSettings,
    limits: RequestLimits,
    parameters: SearchParameters,
) -> Json:
    """Take the same as JSON, where a query may be longer than in an address."""
    asked = search_request(caller, parameters, settings.search_query_characters)
    async with limits.searches:
        return await _answer(asked, settings.search_seconds, request)


async def _answer(asked: SearchRequest, seconds: float, request: Request) -> Json:
    body = await search(asked, seconds=seconds, is_unwanted=request.is_disconnected)
    query = asked.query
    return Json({"query": query.typed, "terms": [term.typed for term in query.terms], **body})


def search_request(
    caller: CallerInfo, parameters: SearchParameters, max_characters: int
) -> SearchRequest:
    """Return what is asked, checked.

    Raises:
        BadRequest: a field, a query, a place to look, an order or a cursor that there is not.
        Forbidden: the key may not read where it wants to look.
    """
    if unknown := sorted(parameters.model_extra or ()):
        raise BadRequest(
            f"{unknown[0][:40]!r} is no field of a search; there are {', '.join(FIELDS)}",
            param=unknown[0][:40],
        )
    status = parameters.status
    is_conversation_status = status in ("0", "1")
    if parameters.versions not in (None, "all", "newest"):
        raise BadRequest("versions: all or newest", param="versions")
    return SearchRequest(
        owner=caller.owner,
        query=parse(parameters.q, max_characters=max_characters),
        kinds=_kinds(caller, parameters.in_),
        sort=_sort(parameters.sort),
        limit=min(parameters.limit or DEFAULT_RESULTS, MAX_RESULTS),
        project_id=parameters.project_id,
        conversation_id=parameters.conversation_id,
        conversation_status=int(status) if status and is_conversation_status else None,
        role=parameters.role,
        model=parameters.model,
        status=None if is_conversation_status else status,
        from_=parameters.from_,
        to=parameters.to,
        all_versions=parameters.versions == "all",
        revisions=parameters.revisions,
        cursor=Cursor.unpacked(parameters.before) if parameters.before else None,
    )


def _kinds(caller: CallerInfo, text: str | None) -> frozenset[Kind]:
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    kinds: list[Kind] = [kind for kind in KINDS if kind in names]
    if unknown := sorted(set(names) - set(KINDS)):
        raise BadRequest(f"in: {unknown[0][:40]!r} is none of {', '.join(KINDS)}", param="in")
    for kind in kinds:
        if not caller.may(SCOPES[kind]):
            raise Forbidden(f"This key lacks the scope {SCOPES[kind]!r}", code="missing_scope")
    found = frozenset(kinds or (kind for kind in DEFAULT_KINDS if caller.may(SCOPES[kind])))
    if not found:
        raise Forbidden("This key may read nothing that can be searched", code="missing_scope")
    return found


def _sort(text: str | None) -> Sort:
    for sort in SORTS:
        if text in (None, sort):
            return sort
    raise BadRequest(f"sort: {' or '.join(SORTS)}", param="sort")
