"""`/v1/projects`: labels with a name, an environment and a source directory."""

from typing import Annotated

from fastapi import Query

from proxy.documents.project import Project
from proxy.documents.source_manifest import AnsweredDigest
from proxy.responses import Json
from proxy.schemas.common import Done, Fields, picked
from proxy.schemas.projects import ProjectCreate, ProjectOut, ProjectUpdate, project_out
from proxy.web.dependencies import Caller, LoadedProject, PathId
from proxy.web.routes import api_router

router = api_router("/v1/projects", tag="Projects")


@router.get("", response_model=list[ProjectOut], summary="List projects, newest first")
async def list_projects(caller: Caller, fields: Annotated[Fields, Query()] = "") -> Json:
    """All projects of the caller."""
    found = [project_out(raw) for raw in await Project.newest_first(caller.owner)]
    return Json(picked(found, fields, ProjectOut))


@router.post("", response_model=ProjectOut, summary="Create a project")
async def create_project(body: ProjectCreate, caller: Caller) -> Json:
    """Only `name` is required; it is unique."""
    fields = body.model_dump(exclude_none=True)
    return Json(project_out(await Project.create_new(caller.owner, fields)))


@router.get("/{project_id}", response_model=ProjectOut, summary="Get a project")
async def get_project(project: LoadedProject) -> Json:
    """One project."""
    return Json(project_out(project))


@router.put("/{project_id}", response_model=ProjectOut, summary="Update a project")
async def update_project(project_id: PathId, body: ProjectUpdate, caller: Caller) -> Json:
    """Any fields; absent ones stay."""
    fields = body.model_dump(exclude_none=True)
    return Json(project_out(await Project.change(caller.owner, project_id, fields)))


@router.delete("/{project_id}", response_model=Done, summary="Delete a project")
async def delete_project(project_id: PathId, caller: Caller) -> Json:
    """Its conversations and documents stay, under the label."""
    await Project.remove(caller.owner, project_id)
    await AnsweredDigest.forget(caller.owner, project_id)
    return Json({"message": "Project deleted successfully"})
