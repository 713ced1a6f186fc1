"""Scenarios of Responses with the Python clients that are named, with every model of MODELS.

One process for all: a start costs more than all the calls. Prints JSON.
"""

import asyncio
import inspect
import json
import os
import sys

BASE_URL, KEY, IMAGE = os.environ["BASE_URL"], os.environ["KEY"], os.environ["IMAGE"]
CITY = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
FORMAT = {"format": {"type": "json_schema", "name": "city", "schema": CITY, "strict": True}}
LOOK = [
    {
        "role": "user",
        "content": [
            {"type": "input_text", "text": "Look"},
            {"type": "input_image", "image_url": IMAGE, "detail": "auto"},
        ],
    }
]


def weather(city: str) -> str:
    """The weather of a city."""
    return f"Sunny in {city}"


TOOLS = [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}]


def summary_of(output):
    return "".join(
        part.text for item in output if item.type == "reasoning" for part in item.summary
    )


def results_of(output):
    return [
        {"type": "function_call_output", "call_id": item.call_id, "output": "sun"}
        for item in output
        if item.type == "function_call"
    ]


def refused(error):
    body = getattr(error, "body", None)
    if isinstance(body, dict) and body.get("param"):
        return {"refused": body["param"]}
    if "text.format" in str(error):
        return {"refused": "text.format"}
    raise error


class OpenAI:
    """OpenAI's own package."""

    def __init__(self):
        import openai

        self.client = openai.OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)
        self.gone = openai.NotFoundError

    def text(self, model):
        ask = self.client.responses
        with ask.stream(model=model, input="Hello") as stream:
            events = list(stream)
            final = stream.get_final_response()
        middle = events[len(events) // 2].sequence_number
        with ask.stream(response_id=final.id, starting_after=middle) as stream:
            rest = [event.sequence_number for event in stream]
            resumed = stream.get_final_response().output_text
        again = ask.retrieve(final.id, stream=True, starting_after=middle)
        same = [event.sequence_number for event in again] == rest
        stored = ask.retrieve(final.id).output_text
        ask.delete(final.id)
        gone = None
        try:
            ask.retrieve(final.id)
        except self.gone as error:
            gone = error.status_code
        return {
            "text": final.output_text,
            "resumed": resumed,
            "stored": stored,
            "isBehind": same and min(rest) > middle,
            "gone": gone,
        }

    def reasoning(self, model):
        made = self.client.responses.create(
            model=model, input="Think", reasoning={"summary": "auto"}
        )
        return summary_of(made.output)

    def calls(self, model):
        ask = self.client.responses
        with ask.stream(model=model, input="Weather", tools=TOOLS) as stream:
            first = stream.get_final_response()
        calls = [item for item in first.output if item.type == "function_call"]
        second = ask.create(
            model=model,
            input=results_of(first.output),
            previous_response_id=first.id,
            tools=TOOLS,
        )
        return [[[call.call_id, call.arguments] for call in calls], second.output_text]

    def image(self, model):
        return self.client.responses.create(model=model, input=LOOK).output_text

    def schema(self, model):
        from pydantic import BaseModel

        class City(BaseModel):
            name: str

        try:
            made = self.client.responses.parse(model=model, input="City", text_format=City)
        except Exception as error:
            return refused(error)
        return made.output_parsed.model_dump()

    def conversation(self, model):
        items = [{"type": "message", "role": "user", "content": str(n)} for n in range(5)]
        made = self.client.conversations.create(items=items, metadata={"a": "b"})
        pages = self.client.conversations.items
        found = [item.id for item in pages.list(made.id, limit=2)]
        pages.delete(found[0], conversation_id=made.id)
        left = len(list(pages.list(made.id)))
        answer = self.client.responses.create(model=model, input="x", conversation=made.id)
        return [len(set(found)), left, answer.conversation.id == made.id]


class LangChain:
    """`ChatOpenAI` with `use_responses_api`."""

    def model(self, name, **options):
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(
            base_url=BASE_URL,
            api_key=KEY,
            model=name,
            max_retries=0,
            use_responses_api=True,
            **options,
        )

    def text(self, model):
        pieces = list(self.model(model).stream("Hello"))
        return "".join(piece.text for piece in pieces)

    def reasoning(self, model):
        found = self.model(model, reasoning={"summary": "auto"}).invoke("Think")
        blocks = [block for block in found.content if block["type"] == "reasoning"]
        return "".join(part["text"] for block in blocks for part in block["summary"])

    def calls(self, model):
        from langchain_core.messages import HumanMessage, ToolMessage
        from langchain_core.tools import tool

        bound = self.model(model).bind_tools([tool(weather)])
        history = [HumanMessage("Weather")]
        first = None
        for chunk in bound.stream(history):
            first = chunk if first is None else first + chunk
        results = [
            ToolMessage(weather(**call["args"]), tool_call_id=call["id"])
            for call in first.tool_calls
        ]
        second = bound.invoke([*history, first, *results])
        return [[call["args"]["city"] for call in first.tool_calls], second.text]

    def image(self, model):
        content = [
            {"type": "text", "text": "Look"},
            {"type": "image_url", "image_url": {"url": IMAGE}},
        ]
        return self.model(model).invoke([{"role": "user", "content": content}]).text

    def schema(self, model):
        wanted = {"title": "city", **CITY}
        try:
            return self.model(model).with_structured_output(wanted).invoke("City")
        except Exception as error:
            return refused(error)


class LiteLLM:
    """`litellm.responses()`."""

    def ask(self, model, **body):
        import litellm

        # What it says of an error would stand in front of the JSON.
        litellm.suppress_debug_info = True
        return litellm.responses(
            model=f"openai/{model}", api_base=BASE_URL, api_key=KEY, num_retries=0, **body
        )

    def streamed(self, model, **body):
        events = list(self.ask(model, stream=True, **body))
        return next(event.response for event in events if event.type == "response.completed")

    def text(self, model):
        return self.streamed(model, input="Hello").output_text

    def reasoning(self, model):
        made = self.ask(model, input="Think", reasoning={"summary": "auto"})
        return summary_of(made.output)

    def calls(self, model):
        first = self.streamed(model, input="Weather", tools=TOOLS)
        results = results_of(first.output)
        second = self.ask(model, input=results, previous_response_id=first.id, tools=TOOLS)
        return [len(results), second.output_text]

    def image(self, model):
        return self.ask(model, input=LOOK).output_text

    def schema(self, model):
        try:
            return json.loads(self.ask(model, input="City", text=FORMAT).output_text)
        except Exception as error:
            return refused(error)


class Agents:
    """The Agents SDK; its session is a conversation here."""

    def __init__(self):
        import agents
        from openai import AsyncOpenAI

        agents.set_tracing_disabled(True)
        self.agents = agents
        self.client = AsyncOpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)

    def agent(self, model, **options):
        return self.agents.Agent(
            name="A",
            instructions="Be short.",
            model=self.agents.OpenAIResponsesModel(model, self.client),
            **options,
        )

    async def streamed(self, agent, given, **options):
        running = self.agents.Runner.run_streamed(agent, given, **options)
        async for _ in running.stream_events():
            pass
        return running

    async def text(self, model):
        return (await self.streamed(self.agent(model), "Hello")).final_output

    async def reasoning(self, model):
        from openai.types.shared import Reasoning

        settings = self.agents.ModelSettings(reasoning=Reasoning(summary="auto"))
        found = await self.streamed(self.agent(model, model_settings=settings), "Think")
        return summary_of([item.raw_item for item in found.new_items])

    async def calls(self, model):
        agents = self.agents
        session = agents.OpenAIConversationsSession(openai_client=self.client)
        agent = self.agent(model, tools=[agents.function_tool(weather)])
        first = await agents.Runner.run(agent, "Weather", session=session)
        second = await self.streamed(agent, "Hello", session=session)
        # More than goes into one call.
        await session.add_items([{"role": "user", "content": str(n)} for n in range(23)])
        items = await session.get_items()
        newest = await session.pop_item()
        kinds = [item.get("type", "message") for item in items]
        return {
            "first": first.final_output,
            "second": second.final_output,
            "calls": [kinds.count("function_call"), kinds.count("function_call_output")],
            "popped": newest["content"][0]["text"],
            "left": len(items) - len(await session.get_items()),
            "newest": [item["content"][0]["text"] for item in await session.get_items(2)],
        }

    async def image(self, model):
        return (await self.streamed(self.agent(model), LOOK)).final_output

    async def schema(self, model):
        from pydantic import BaseModel

        class City(BaseModel):
            name: str

        try:
            found = await self.streamed(self.agent(model, output_type=City), "City")
        except Exception as error:
            return refused(error)
        return found.final_output.model_dump()

    async def refusals(self, model):
        """How a run ends whose response failed or is not complete."""
        found = {}
        for word in ("Fail", "Cut"):
            try:
                found[word] = (await self.streamed(self.agent(model), word)).final_output
            except Exception as error:
                found[word] = type(error).__name__
        return found


CLIENTS = {"openai": OpenAI, "langchain": LangChain, "litellm": LiteLLM, "agents": Agents}


async def main():
    found = {}
    for name in sys.argv[1:]:
        client = CLIENTS[name]()
        scenarios = [
            key
            for key in ("text", "reasoning", "calls", "image", "schema", "conversation", "refusals")
            if hasattr(client, key)
        ]
        for model in os.environ["MODELS"].split():
            for scenario in scenarios:
                try:
                    made = getattr(client, scenario)(model)
                    made = await made if inspect.isawaitable(made) else made
                except Exception as error:
                    made = f"{type(error).__name__}: {error}"
                found[f"{name}, {model}, {scenario}"] = made
    print(json.dumps(found))


asyncio.run(main())
