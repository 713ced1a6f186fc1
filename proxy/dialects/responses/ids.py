"""Ids on the wire and what they name; nothing is looked up to write or read one.

| wire | names |
|---|---|
| `conv_<uuid>` | a conversation; the bare UUID is read, too |
| `resp_<n>_<r>` | writing `r` of assistant message `n` |
| `msg_<n>` | message `n`, or the text of a reply; `msg_<n>_<k>` its k-th later stretch of text |
| `rs_<n>` | the reasoning of message `n`; `rs_<n>_<k>` likewise |
| `fc_<n>_<k>`, `ctc_<n>_<k>` | the k-th tool call of message `n`: a function's, a custom tool's |
| `hi_<n>_<k>` | the k-th item of message `n` that a hosted tool made |
| `fco_<n>`, `ctco_<n>` | the result of a tool call: message `n` |
"""

import re
from typing import Literal, NamedTuple, cast

from proxy.documents.base import MAX_ID
from proxy.errors import NotFound

PREVIOUS = "previous_response_id"
PREVIOUS_NOT_FOUND = "previous_response_not_found"
"""OpenAI's code for a call that goes on from a response which is not there."""

ItemKind = Literal["msg", "rs", "fc", "ctc", "hi", "fco", "ctco"]

_ITEM = re.compile(r"(msg|rs|fc|ctc|hi|fco|ctco)_([1-9]\d{0,18})(?:_(\d{1,6}))?")
_RESPONSE = re.compile(r"resp_([1-9]\d{0,18})_(\d{1,9})")

CONVERSATION = "conv_"


class ItemId(NamedTuple):
    """What an item's id names: a part of a message."""

    kind: ItemKind
    message_id: int
    part: int = 0

    def __str__(self) -> str:
        """Write the id as it stands on the wire: `msg_107`, `fc_108_0`."""
        if self.part or self.kind in ("fc", "ctc", "hi"):
            return f"{self.kind}_{self.message_id}_{self.part}"
        return f"{self.kind}_{self.message_id}"


class ResponseId(NamedTuple):
    """Which writing of which reply an id names."""

    message_id: int
    revision: int = 0

    def __str__(self) -> str:
        """Write the id as it stands on the wire: `resp_108_0`."""
        return f"resp_{self.message_id}_{self.revision}"


def read_item_id(text: str) -> ItemId | None:
    """Read an item's id; None when it is none of ours."""
    found = _ITEM.fullmatch(text)
    if found is None or int(found[2]) > MAX_ID:
        return None
    return ItemId(cast(ItemKind, found[1]), int(found[2]), int(found[3] or 0))


def read_response_id(text: str, *, param: str | None = None) -> ResponseId:
    """Read a response's id; `param` is the field of a body that it stands in.

    Raises:
        NotFound: it is none of ours.
    """
    found = _RESPONSE.fullmatch(text)
    if found is None or int(found[1]) > MAX_ID:
        raise no_response(text, param=param)
    return ResponseId(int(found[1]), int(found[2]))


def no_response(id_: str, *, param: str | None = None) -> NotFound:
    """Return the 404 for a response that this caller does not have."""
    code = PREVIOUS_NOT_FOUND if param == PREVIOUS else None
    return NotFound(f"Response with id '{id_[:100]}' not found.", param=param, code=code)


def no_item(id_: str, *, param: str | None = None) -> NotFound:
    """Return the 404 for an item that this caller does not have."""
    return NotFound(f"Item with id '{id_[:100]}' not found.", param=param)


def no_conversation(id_: str, *, param: str | None = None) -> NotFound:
    """Return the 404 for a conversation that this caller does not have."""
    return NotFound(f"Conversation with id '{id_[:100]}' not found.", param=param)


def conversation_key(text: str) -> str:
    """Return the `_id` of the conversation that an id names."""
    return text.removeprefix(CONVERSATION)
