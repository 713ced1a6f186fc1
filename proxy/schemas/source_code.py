"""The body of `/v1/projects/{id}/complete-source-code`."""

from pydantic import BaseModel, Field


class SourceFileOut(BaseModel):
    """One file of the text; `tokens` are those of its part, header included."""

    path: str = Field(examples=["src/main.py"])
    bytes: int = Field(examples=[5120])
    tokens: int = Field(examples=[1430])
    encoding: str = Field(examples=["utf-8"])
    redactions: int = Field(examples=[1])


class SkippedOut(BaseModel):
    """A path that is not in the text, and why; a directory's ends in a slash."""

    path: str = Field(examples=["node_modules/"])
    reason: str = Field(examples=["ignored directory"])


class SinceOut(BaseModel):
    """Whether the digest that was named is still known; if not, the text is the whole."""

    etag: str = Field(examples=["9f86d081884c7d659a2feaa0c55ad015"])
    known: bool = Field(examples=[True])


class SourceCodeOut(BaseModel):
    """A directory as one text, and everything that is to be said of it."""

    completeSourceCode: str = Field(  # noqa: N815
        examples=["--- main.py ---\nprint('hello')\n"]
    )
    files: list[SourceFileOut]
    skipped: list[SkippedOut]
    total_bytes: int = Field(examples=[5180])
    """UTF-8 bytes of the text."""
    total_tokens: int = Field(examples=[1450])
    tokenizer: str = Field(examples=["o200k_base"])
    sha256: str = Field(
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
    )
    redactions: dict[str, int] = Field(examples=[{"AWS access key": 1}])
    unchanged: int
    removed: list[str] = Field(examples=[["src/old.py"]])
    since: SinceOut | None = None
