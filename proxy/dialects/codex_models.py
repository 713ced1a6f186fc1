"""The list of models as the Codex CLI reads it: which tools it gives to a model, and its window.

Source: `ModelInfo` of Codex's protocol, and what Codex 0.169 takes.
"""

from collections.abc import Iterable
from typing import Any

from proxy.documents.base import Raw

INSTRUCTIONS = (
    "You are a coding agent that works in a terminal, in the user's own directory. Read the code "
    "before you change it, edit files with apply_patch, and check what you changed with the "
    "project's own commands. Keep to the style that is there, and touch nothing that the task "
    "does not need. Say in the end, in a few sentences, what you did and what is left to do."
)
"""What a model is told of its task, which an `AGENTS.md` of the user adds to."""

TOOL_OUTPUT_TOKENS = 10_000

_EFFORTS = {
    "low": "Answers soon",
    "medium": "Thinks as long as an ordinary task needs",
    "high": "Thinks long about a hard task",
}


def codex_models(listed: Iterable[Raw]) -> list[Raw]:
    """Return the models of `GET /v1/models` in Codex's form: `[{"slug": "gpt-4o-mini", …}]`."""
    return [_entry(model, priority) for priority, model in enumerate(listed)]


def _entry(model: Raw, priority: int) -> dict[str, Any]:
    sees = model.get("images") is not False
    return {
        "slug": model["id"],
        "display_name": model["id"],
        "description": None,
        "default_reasoning_level": None,
        "supported_reasoning_levels": [
            {"effort": effort, "description": text} for effort, text in _EFFORTS.items()
        ],
        "shell_type": "shell_command",
        "visibility": "list",
        "supported_in_api": True,
        "priority": priority,
        "availability_nux": None,
        "upgrade": None,
        "base_instructions": INSTRUCTIONS,
        # So it asks for `reasoning.encrypted_content`, and sends back what a model thought.
        "supports_reasoning_summaries": True,
        "default_reasoning_summary": "auto",
        "support_verbosity": False,
        "default_verbosity": None,
        "apply_patch_tool_type": "freeform",
        "truncation_policy": {"mode": "tokens", "limit": TOOL_OUTPUT_TOKENS},
        "supports_parallel_tool_calls": True,
        "experimental_supported_tools": [],
        "input_modalities": ["text", "image"] if sees else ["text"],
        "context_window": model.get("context_tokens"),
    }
