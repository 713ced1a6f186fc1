"""The list of models as Codex reads it, beside OpenAI's own."""

from tests.conftest import LiveServer
from tests.fakes.openai_upstream import OpenAIUpstream

NEEDED = {
    *("slug", "display_name", "supported_reasoning_levels", "shell_type", "visibility"),
    *("supported_in_api", "priority", "base_instructions", "supports_reasoning_summaries"),
    *("support_verbosity", "truncation_policy", "supports_parallel_tool_calls"),
    *("experimental_supported_tools", "context_window", "availability_nux", "upgrade"),
}


async def test_codex_gets_its_own_form_under_a_tag_that_changes_with_it(live: LiveServer) -> None:
    models = {"one": {"context_tokens": 5000, "images": False}}
    tags = set()
    for names in (["one", "two"], ["one", "two"], ["one"]):
        async with (
            OpenAIUpstream(models=names) as upstream,
            live(openai_base_url=upstream.base_url, openai_api_key="k", models=models) as client,
        ):
            answer = await client.get("/v1/models?client_version=0.169.0")
            plain = await client.get("/v1/models")
        body = answer.json()
        tags.add(answer.headers["etag"])
        assert plain.json() == {key: each for key, each in body.items() if key != "models"}
        assert [each["slug"] for each in body["models"]] == names
        assert all(each.keys() >= NEEDED for each in body["models"])
        one = body["models"][0]
        assert (one["context_window"], one["input_modalities"]) == (5000, ["text"])
        assert one["apply_patch_tool_type"] == "freeform"
    assert len(tags) == 2
