"""Bodies of `/v1/projects`."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from proxy.documents.base import Raw
from proxy.documents.project import StoredProject
from proxy.schemas.common import Body, Label, ModelName, ProjectId, ProjectName, Text, Time


def _stripped(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value.strip()


FilledName = Annotated[Label, AfterValidator(_stripped), Field(examples=["后端"])]
ShortText = Annotated[Text, StringConstraints(max_length=20_000)]


class ProjectUpdate(Body):
    """Any of a project's fields."""

    name: FilledName | None = None
    dev_environment: ShortText | None = Field(default=None, examples=["Java 21, Spring Boot 3"])
    grpc_server_address: ShortText | None = Field(default=None, examples=["127.0.0.1:50051"])
    llm_model: ShortText | None = Field(default=None, examples=["gpt-4o-mini"])
    llm_url: ShortText | None = Field(default=None, examples=["http://127.0.0.1:8000/v1"])
    git_work_dir: ShortText | None = Field(default=None, examples=["/srv/git/app"])
    ai_work_dir: ShortText | None = Field(default=None, examples=["/srv/app"])


class ProjectCreate(ProjectUpdate):
    """Only the name is needed."""

    name: FilledName


class ProjectOut(BaseModel):
    """A project as clients know it."""

    id: ProjectId
    name: ProjectName
    dev_environment: str = Field(examples=["Java 21, Spring Boot 3"])
    grpc_server_address: str = Field(examples=["127.0.0.1:50051"])
    llm_model: ModelName
    llm_url: str = Field(examples=["http://127.0.0.1:8000/v1"])
    git_work_dir: str = Field(examples=["/srv/git/app"])
    ai_work_dir: str = Field(examples=["/srv/app"])
    created_time: Time
    updated_time: Time


def project_out(raw: StoredProject) -> Raw:
    """Return a stored project under its wire names."""
    fields = {key: raw.get(key, "") for key in ProjectUpdate.model_fields}
    return {
        "id": raw["_id"],
        **fields,
        "created_time": raw["created_at"],
        "updated_time": raw["updated_at"],
    }
