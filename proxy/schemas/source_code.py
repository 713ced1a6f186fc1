"""The body of `/v1/projects/{id}/complete-source-code`."""

from pydantic import BaseModel, Field


class SourceFileOut(BaseModel):
    """One file of the text; `tokens` are those of its part, header included."""

    path: str
    bytes: int
    tokens: int
    encoding: str
    redactions: int


class SkippedOut(BaseModel):
    """A path that is not in the text, and why; a directory's ends in a slash."""

    path: str = Field(examples=["node_modules/"])
    reason: str = Field(examples=["ignored directory"])


class SinceOut(BaseModel):
    """Whether the digest that was named is still known; if not, the text is the whole."""

    etag: str
    known: bool


class SourceCodeOut(BaseModel):
    """A directory as one text, and everything that is to be said of it."""

    completeSourceCode: str  # noqa: N815
    files: list[SourceFileOut]
    skipped: list[SkippedOut]
    total_bytes: int
    """UTF-8 bytes of the text."""
    total_tokens: int
    tokenizer: str
    sha256: str
    redactions: dict[str, int] = Field(examples=[{"AWS access key": 1}])
    unchanged: int
    removed: list[str]
    since: SinceOut | None = None
