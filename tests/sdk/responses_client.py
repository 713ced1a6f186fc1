"""One scenario of Responses with a Python client; prints JSON."""

import asyncio
import json
import os
import sys

BASE_URL, KEY = os.environ["BASE_URL"], os.environ["KEY"]


def weather(city: str) -> str:
    """The weather of a city."""
    return f"Sunny in {city}"


def langchain():
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(
        base_url=BASE_URL,
        api_key=KEY,
        model="test-model",
        max_retries=0,
        use_responses_api=True,
    ).bind_tools([tool(weather)])
    history = [HumanMessage("Weather?")]
    first = None
    for chunk in model.stream(history):
        first = chunk if first is None else first + chunk
    results = [
        ToolMessage(weather(**call["args"]), tool_call_id=call["id"]) for call in first.tool_calls
    ]
    second = model.invoke([*history, first, *results])
    return {"calls": len(first.tool_calls), "text": second.text, "usage": second.usage_metadata}


def litellm():
    import litellm

    def ask(**body):
        return litellm.responses(
            model="openai/test-model", api_base=BASE_URL, api_key=KEY, num_retries=0, **body
        )

    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    tools = [{"type": "function", "name": "weather", "parameters": schema}]
    final = None
    for event in ask(input="Weather?", tools=tools, stream=True):
        if event.type == "response.completed":
            final = event.response
    calls = [item for item in final.output if item.type == "function_call"]
    results = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "sun"} for call in calls
    ]
    second = ask(input=results, previous_response_id=final.id, tools=tools)
    return {"calls": len(calls), "text": second.output_text}


async def agents():
    from agents import (
        Agent,
        OpenAIConversationsSession,
        OpenAIResponsesModel,
        Runner,
        function_tool,
        set_tracing_disabled,
    )
    from openai import AsyncOpenAI

    set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)
    session = OpenAIConversationsSession(openai_client=client)
    agent = Agent(
        name="A",
        instructions="Be short.",
        model=OpenAIResponsesModel("test-model", client),
        tools=[function_tool(weather)],
    )
    first = await Runner.run(agent, "Weather?", session=session)
    running = Runner.run_streamed(agent, "And now?", session=session)
    async for _ in running.stream_events():
        pass
    items = await session.get_items()
    newest = await session.pop_item()
    return {
        "first": first.final_output,
        "second": running.final_output,
        "kinds": [item.get("type", "message") for item in items],
        "popped": newest["content"][0]["text"],
        "left": len(await session.get_items()),
    }


async def main() -> None:
    found = {"langchain": langchain, "litellm": litellm, "agents": agents}[sys.argv[1]]()
    print(json.dumps(await found if asyncio.iscoroutine(found) else found))


asyncio.run(main())
