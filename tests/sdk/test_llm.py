"""The `llm` command-line tool, with the server as one of its OpenAI-compatible models."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.sdk.conftest import KEY, Run, Server

pytestmark = pytest.mark.slow

Llm = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def llm(tools: Path, importing: Callable[..., Run], server: Server, tmp_path: Path) -> Llm:
    (tmp_path / "extra-openai-models.yaml").write_text(
        "- model_id: mine\n"
        "  model_name: test-model\n"
        f"  api_base: {server.base_url}\n"
        "  api_key_name: mine\n"
        "  supports_tools: true\n"
    )

    async def start(*arguments: str) -> tuple[int, str, str]:
        run = importing("llm.cli")
        return await run(str(tools / "llm"), *arguments, LLM_USER_PATH=str(tmp_path))

    return start


async def test_a_prompt_is_streamed(llm: Llm, server: Server) -> None:
    server.upstream.play(server.upstream.reply("Hel", "lo 漢"))
    status, out, err = await llm("-m", "mine", "--key", KEY, "Hello")
    assert (status, out.strip()) == (0, "Hello 漢"), err
    assert server.upstream.requests[0].json["stream"] is True


async def test_a_prompt_is_answered_whole(llm: Llm, server: Server) -> None:
    server.upstream.play(server.upstream.whole_reply("Hello"))
    status, out, err = await llm("-m", "mine", "--key", KEY, "--no-stream", "-s", "Be kind", "Hi")
    assert (status, out.strip()) == (0, "Hello"), err
    assert server.upstream.requests[0].json["messages"][0]["content"] == "Be kind"


async def test_a_wrong_key_is_told_of(llm: Llm) -> None:
    status, out, err = await llm("-m", "mine", "--key", "wrong", "Hello")
    assert status != 0
    assert "valid key" in out + err


async def test_the_model_is_listed(llm: Llm) -> None:
    _, out, _ = await llm("models")
    assert "mine" in out
