"""What every error body holds."""

import httpx


def check_error(response: httpx.Response) -> str:
    """The contract's shape of an error; its sentence."""
    body = response.json()
    assert isinstance(body["detail"], str)
    assert body["detail"]
    assert set(body["error"]) == {"message", "type", "code", "param"}
    assert body["error"]["message"] == body["detail"]
    sentence: str = body["detail"]
    return sentence
