"""How bodies that are passed on are described: nothing validates them but their provider."""

from typing import Any

MODEL = {
    "anyOf": [{"type": "string"}, {"type": "null"}],
    "description": "A listed model, or `<provider>/<model>`; what is not named here is passed on",
}
STREAM = {"anyOf": [{"type": "boolean"}, {"type": "null"}]}
BYTES = {"type": "string", "format": "binary"}


def json_of(example: dict[str, Any], **properties: Any) -> dict[str, Any]:
    """Describe a JSON body with a model, an example and fields that the provider knows."""
    return {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {"model": MODEL | {"examples": [example["model"]]}, **properties},
                "additionalProperties": True,
                "examples": [example],
            }
        }
    }


def form_of(example: dict[str, Any], *files: str) -> dict[str, Any]:
    """Describe a form with a model and files."""
    return {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "model": {
                        "type": "string",
                        "description": MODEL["description"],
                        "examples": [example["model"]],
                    },
                    **dict.fromkeys(files, BYTES),
                },
                "additionalProperties": True,
                "examples": [example],
            }
        }
    }


def body_of(*contents: dict[str, Any]) -> dict[str, Any]:
    """Return what describes the body of a route, in one or several media types."""
    content = {name: schema for each in contents for name, schema in each.items()}
    return {"requestBody": {"required": True, "content": content}}
