"""A history that its model sums up, and what goes on from the summary."""

from tests.dialects.responses.conftest import Served

HISTORY = [
    {"type": "message", "role": "user", "content": "We launch on Tuesday."},
    {"type": "message", "role": "assistant", "content": "Understood."},
    {
        "type": "message",
        "role": "user",
        "content": [
            {"type": "input_text", "text": "Tell support"},
            {"type": "input_image", "image_url": "https://files.example/plan.png"},
        ],
    },
]


async def test_what_the_user_said_stays_and_the_rest_is_a_sealed_summary(served: Served) -> None:
    served.upstream.play(served.upstream.reply("Launch: Tuesday"), served.upstream.reply("ok"))
    body = {"model": "test-model", "input": HISTORY, "instructions": "Be brief"}
    answer = await served.client.post("/v1/responses/compact", json=body)
    assert answer.status_code == 200, answer.text
    made = answer.json()
    assert made["object"] == "response.compaction"
    assert made["usage"]["total_tokens"] == 18
    said = [item["content"] for item in made["output"] if item["type"] == "message"]
    assert [parts[0]["text"] for parts in said] == ["We launch on Tuesday.", "Tell support"]
    assert said[1][1]["image_url"] == "https://files.example/plan.png"
    summary = made["output"][-1]
    assert summary["type"] == "compaction"
    assert "Tuesday" not in summary["encrypted_content"]
    assert served.sent[0] == {"role": "system", "content": "Be brief"}
    assert [message["role"] for message in served.sent[1:]] == ["user", "assistant", "user"]

    asked = [*made["output"], {"role": "user", "content": "When?"}]
    for store in (True, False):
        await served.respond(input=asked, store=store)
        assert "Launch: Tuesday" in str(served.sent)
        assert str(served.sent).index("Tell support") < str(served.sent).index("Launch: Tuesday")
        assert str(served.sent).index("Launch: Tuesday") < str(served.sent).index("When?")
    listed = (await served.client.get("/v1/conversations")).json()["data"]
    assert len(listed) == 1


async def test_it_sums_up_what_a_response_ended(served: Served) -> None:
    served.upstream.play(served.upstream.reply("Understood"), served.upstream.reply("Summary"))
    first = await served.respond(input="We launch on Tuesday")
    body = {"model": "test-model", "previous_response_id": first["id"], "input": "And Rust"}
    made = (await served.client.post("/v1/responses/compact", json=body)).json()
    texts = [item["content"][0]["text"] for item in made["output"][:-1]]
    assert texts == ["We launch on Tuesday", "And Rust"]


async def test_anothers_summary_is_left_out_and_named(served: Served) -> None:
    served.upstream.play(served.upstream.reply("ok"))
    given = [{"type": "compaction", "encrypted_content": "x"}, {"role": "user", "content": "x"}]
    answer = await served.client.post("/v1/responses", json={"model": "test-model", "input": given})
    assert answer.headers["x-proxy-ignored"] == "compaction"


async def test_it_needs_a_model_and_says_how_it_failed(served: Served) -> None:
    answer = await served.client.post("/v1/responses/compact", json={"input": HISTORY})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")
    served.upstream.play(served.upstream.status(429, retry_after="1"))
    body = {"model": "test-model", "input": HISTORY}
    answer = await served.client.post("/v1/responses/compact", json=body)
    assert answer.status_code == 429
