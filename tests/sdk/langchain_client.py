"""One scenario with LangChain's ChatOpenAI: python langchain_client.py <scenario>; prints JSON."""

import json
import os
import sys

import openai
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"Sunny in {city}"


model = ChatOpenAI(
    base_url=os.environ["BASE_URL"],
    api_key=os.environ["KEY"],
    model="test-model",
    max_retries=0,
    timeout=float(os.environ.get("TIMEOUT", "20")),
    extra_body=json.loads(os.environ.get("EXTRA_BODY", "null")),
)


def chat():
    answer = model.invoke("Hello 漢")
    return {"text": answer.content, "usage": answer.usage_metadata}


def stream():
    pieces = list(model.stream("Hello"))
    return {"text": "".join(piece.content for piece in pieces), "pieces": len(pieces)}


def tools():
    answer = model.bind_tools([weather]).invoke("Weather?")
    return {"calls": answer.tool_calls}


try:
    print(json.dumps({"chat": chat, "stream": stream, "tools": tools}[sys.argv[1]]()))
except openai.APIError as error:
    # LangChain's own classes are below OpenAI's.
    names = [each.__name__ for each in type(error).__mro__]
    print(json.dumps({"names": names, "message": str(error)}))
