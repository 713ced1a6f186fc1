"""All calls with LiteLLM's SDK in one process: python litellm_client.py; prints JSON.

Its import takes seconds, so there is one script and one run. The last calls are those of aider:
streamed, with the model's name behind `openai/` and the server in environment variables.
"""

import json
import os

# What it would ask the internet for.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm

litellm.telemetry = False
litellm.suppress_debug_info = True
HELLO = [{"role": "user", "content": "Hello 漢"}]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
SERVER = {"api_base": os.environ["BASE_URL"], "api_key": os.environ["KEY"]}
COMMON = {**SERVER, "model": "openai/test-model", "num_retries": 0, "max_retries": 0, "timeout": 20}


def chat():
    answer = litellm.completion(messages=HELLO, **COMMON)
    return {"text": answer.choices[0].message.content, "tokens": answer.usage.total_tokens}


def stream():
    chunks = litellm.completion(
        messages=HELLO, stream=True, stream_options={"include_usage": True}, **COMMON
    )
    texts = (choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    return {"text": "".join(texts)}


def tools():
    answer = litellm.completion(messages=HELLO, tools=[WEATHER], **COMMON)
    call = answer.choices[0].message.tool_calls[0].function
    return {"name": call.name, "arguments": json.loads(call.arguments)}


def embeddings():
    answer = litellm.embedding(input=["a"], **COMMON)
    return {"vector": answer.data[0]["embedding"]}


def refusal():
    try:
        litellm.completion(messages=HELLO, **COMMON)
    except litellm.RateLimitError as error:
        return {"name": type(error).__name__, "status": error.status_code}


def wrong_key():
    try:
        litellm.completion(messages=HELLO, **{**COMMON, "api_key": "wrong"})
    except litellm.AuthenticationError as error:
        return {"name": type(error).__name__, "message": str(error)}


def aider():
    os.environ["OPENAI_API_BASE"] = SERVER["api_base"]
    os.environ["OPENAI_API_KEY"] = SERVER["api_key"]
    messages = [
        {"role": "system", "content": "Act as an expert software developer."},
        {"role": "user", "content": "I have *added these files to the chat*"},
        {"role": "assistant", "content": "Ok."},
        *HELLO,
    ]
    chunks = litellm.completion(
        model="openai/test-model", messages=messages, stream=True, temperature=0, timeout=20
    )
    text, reason = "", None
    for chunk in chunks:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
    # A summary of what it will commit is asked for whole.
    whole = litellm.completion(model="openai/test-model", messages=messages, temperature=0)
    return {"text": text, "reason": reason, "summary": whole.choices[0].message.content}


CALLS = (chat, stream, tools, embeddings, refusal, wrong_key, aider)

print(json.dumps({call.__name__: call() for call in CALLS}))
