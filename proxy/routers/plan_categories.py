"""`/v1/plan/categories`: what documents can be made, and by which prompt."""

from typing import Annotated

from fastapi import Query

from proxy.documents.plan_category import PlanCategory
from proxy.responses import Json
from proxy.schemas.common import Done, Fields, picked
from proxy.schemas.plan import (
    CategoryCreate,
    CategoryOut,
    CategoryUpdate,
    category_fields,
    category_out,
)
from proxy.web.dependencies import Caller, PathId
from proxy.web.routes import api_router

router = api_router("/v1/plan/categories", tag="Plan categories")


@router.get("", response_model=list[CategoryOut], summary="List plan categories by id")
async def list_categories(caller: Caller, fields: Annotated[Fields, Query()] = "") -> Json:
    """Return the built-in ones (1 to 5) and the caller's own."""
    found = [category_out(raw) for raw in await PlanCategory.by_id(caller.owner)]
    return Json(picked(found, fields, CategoryOut))


@router.post("", response_model=CategoryOut, summary="Create a plan category")
async def create_category(body: CategoryCreate, caller: Caller) -> Json:
    """Only `name` is required; it is unique."""
    raw = await PlanCategory.create_new(caller.owner, category_fields(body))
    return Json(category_out(raw))


@router.get("/{category_id}", response_model=CategoryOut, summary="Get a plan category")
async def get_category(category_id: PathId, caller: Caller) -> Json:
    """One category."""
    return Json(category_out(await PlanCategory.get_one(caller.owner, category_id)))


@router.put("/{category_id}", response_model=CategoryOut, summary="Update a plan category")
async def update_category(category_id: PathId, body: CategoryUpdate, caller: Caller) -> Json:
    """Any fields; absent ones stay. `auto_save_category_id: -1` clears it."""
    raw = await PlanCategory.change(caller.owner, category_id, category_fields(body))
    return Json(category_out(raw))


@router.delete("/{category_id}", response_model=Done, summary="Delete a plan category")
async def delete_category(category_id: PathId, caller: Caller) -> Json:
    """Never a built-in one, and only when no document is left in it."""
    await PlanCategory.remove(caller.owner, category_id)
    return Json({"message": "Category deleted"})
