"""Bodies of `/v1/projects`."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, StringConstraints

from proxy.documents.base import Raw
from proxy.documents.project import StoredProject
from proxy.schemas.common import Body, Label, Text


def _stripped(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value.strip()


ProjectName = Annotated[Label, AfterValidator(_stripped)]
ShortText = Annotated[Text, StringConstraints(max_length=20_000)]


class ProjectUpdate(Body):
    """Any of a project's fields."""

    name: ProjectName | None = None
    dev_environment: ShortText | None = None
    grpc_server_address: ShortText | None = None
    llm_model: ShortText | None = None
    llm_url: ShortText | None = None
    git_work_dir: ShortText | None = None
    ai_work_dir: ShortText | None = None


class ProjectCreate(ProjectUpdate):
    """Only the name is needed."""

    name: ProjectName


class ProjectOut(BaseModel):
    """A project as clients know it."""

    id: int
    name: str
    dev_environment: str
    grpc_server_address: str
    llm_model: str
    llm_url: str
    git_work_dir: str
    ai_work_dir: str
    created_time: datetime
    updated_time: datetime


def project_out(raw: StoredProject) -> Raw:
    """Return a stored project under its wire names."""
    fields = {key: raw.get(key, "") for key in ProjectUpdate.model_fields}
    return {
        "id": raw["_id"],
        **fields,
        "created_time": raw["created_at"],
        "updated_time": raw["updated_at"],
    }
