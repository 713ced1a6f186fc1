"""Scenarios with LangChain's ChatOpenAI, whose import takes seconds; prints JSON.

python langchain_client.py '[{"scenario": "chat", "key": "wrong", "timeout": 0.3}]'
"""

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


def chat(model):
    answer = model.invoke("Hello 漢")
    return {"text": answer.content, "usage": answer.usage_metadata}


def stream(model):
    pieces = list(model.stream("Hello"))
    return {"text": "".join(piece.content for piece in pieces), "pieces": len(pieces)}


def tools(model):
    answer = model.bind_tools([weather]).invoke("Weather?")
    return {"calls": answer.tool_calls}


def played(scenario, key=os.environ["KEY"], timeout=20):
    model = ChatOpenAI(
        base_url=os.environ["BASE_URL"],
        api_key=key,
        model="test-model",
        max_retries=0,
        timeout=timeout,
    )
    try:
        return {"chat": chat, "stream": stream, "tools": tools}[scenario](model)
    except openai.APIError as error:
        # LangChain's own classes are below OpenAI's.
        names = [each.__name__ for each in type(error).__mro__]
        return {"names": names, "message": str(error)}


print(json.dumps([played(**each) for each in json.loads(sys.argv[1])]))
