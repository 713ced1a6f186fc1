"""`/v1/usage`: what the owner's keys used."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import BeforeValidator

from proxy.access.poe_points import PoePoints
from proxy.documents.api_key import ApiKey
from proxy.documents.base import utc_now
from proxy.documents.usage import Usage
from proxy.errors import Unprocessable
from proxy.responses import Json
from proxy.schemas.usage import GroupBy, Tally, UsageOut
from proxy.web.dependencies import Caller
from proxy.web.routes import api_router

router = api_router("/v1/usage", tag="Usage")

MAX_DAYS = 366
DEFAULT_DAYS = 30

FIELDS = {"day": "day", "model": "model", "project": "project_id", "key": "key_id"}

Day = Annotated[date | None, BeforeValidator(lambda value: value or None)]


@router.get("", response_model=UsageOut, summary="Usage by day, model, project or key")
async def get_usage(
    request: Request,
    caller: Caller,
    from_: Annotated[Day, Query(alias="from", description="First day, UTC; 30 days ago")] = None,
    to: Annotated[Day, Query(description="Last day, UTC; today")] = None,
    group_by: Annotated[GroupBy, BeforeValidator(lambda value: value or "day")] = "day",
) -> Json:
    """Tokens, requests, errors, latencies and cost; what has just ended is there in a second."""
    last = to or utc_now().date()
    first = from_ or date.fromordinal(max(1, last.toordinal() - DEFAULT_DAYS))
    if first > last:
        raise Unprocessable("from: must not be after to", param="from")
    if (last - first).days >= MAX_DAYS:
        raise Unprocessable(f"from: at most {MAX_DAYS} days at once", param="from")
    total, groups = Tally(), dict[Any, Tally]()
    async for raw in Usage.between(caller.owner, first.isoformat(), last.isoformat()):
        counted: Mapping[str, Any] = raw
        groups.setdefault(counted[FIELDS[group_by]], Tally()).add(counted)
        total.add(counted)
    labels = await _key_labels(caller.owner) if group_by == "key" else {}
    points: PoePoints = request.app.state.poe_points
    may_see = caller.is_operator or caller.may("admin")
    return Json(
        {
            "from": first.isoformat(),
            "to": last.isoformat(),
            "group_by": group_by,
            "groups": [
                {"group": group, **labels.get(group, {}), **tally.out()}
                for group, tally in sorted(groups.items())
            ],
            "total": total.out(),
            **({"balance": points.balances()} if may_see else {}),
        }
    )


async def _key_labels(owner: str) -> dict[str, dict[str, str]]:
    return {
        raw["_id"]: {"name": raw["name"], "last4": raw["last4"]}
        for raw in await ApiKey.list_all(owner)
    }
