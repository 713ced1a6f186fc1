"""Bodies of `/v1/write-source-code`."""

from typing import Any, Literal

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, StrictStr, ValidationError

from proxy.errors import BadRequest
from proxy.schemas.common import Body
from proxy.schemas.completions import BOM, why_unreadable


class SourceWrite(Body):
    """A model's reply that describes changes to the files of a project."""

    root_dir: StrictStr = Field(
        max_length=4096,
        description="The `ai_work_dir` of one of the caller's projects",
        examples=["/srv/shop"],
    )
    files_content: StrictStr = Field(
        description="Blocks between lines of `------`",
        examples=[
            "Step [1/1] - Say hello\nAction: Create file\n"
            "File Path: src/hello.py\n```python\nprint('你好')\n```\n"
        ],
    )
    log_level: StrictStr = Field(
        default="INFO",
        max_length=20,
        description="`WARNING` or `ERROR` leaves out the events below that level",
    )
    backup_enabled: bool = Field(
        default=True, description="Whether what is replaced or deleted is kept"
    )


def read_source_write(raw: bytes) -> SourceWrite:
    """Read the body of a call.

    Raises:
        BadRequest: it is no JSON.
        RequestValidationError: a field is missing or wrong.
    """
    try:
        return SourceWrite.model_validate(orjson.loads(raw.removeprefix(BOM)))
    except orjson.JSONDecodeError:
        raise BadRequest(why_unreadable(raw), code="invalid_json") from None
    except ValidationError as error:
        fields = [{**item, "loc": ("body", *item["loc"])} for item in error.errors()]
        raise RequestValidationError(fields) from None


class SourceWriteEvent(BaseModel):
    """One event of the stream; `[DONE]` follows the `summary`."""

    message: str = Field(examples=["[1/1] create_file src/hello.py"])
    type: Literal["info", "progress", "success", "warning", "error", "summary"] = Field(
        examples=["progress"]
    )
    timestamp: str = Field(examples=["2026-02-01T09:00:00.000Z"])
    data: dict[str, Any] = Field(
        examples=[{"step_index": 1, "action": "create_file", "file_path": "src/hello.py"}]
    )
