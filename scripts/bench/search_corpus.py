"""Messages to search in: texts of a fixed seed, stored as turns would have left them."""

import os
import random
from collections.abc import Iterator
from datetime import timedelta
from itertools import accumulate
from pathlib import Path
from uuid import uuid4

from proxy.documents.base import DEFAULT_OWNER, Raw, utc_now
from proxy.documents.conversation import Conversation
from proxy.documents.counter import Counter
from proxy.documents.message import Message
from proxy.documents.message_page import MessagePage, page_id

NEEDLES = {"rare, 4 characters": "冒泡排序", "rare, 2": "氘氚", "rare, 1": "鱻"}
"""Put into one message of two thousand, in turn."""

CHINESE = [
    "的",
    *(
        bytes((row, cell)).decode("gb2312")
        for row in range(0xB0, 0xD7)
        for cell in range(0xA1, 0xFF)
        if (row, cell) != (0xB5, 0xC4)
    ),
]
"""The 3,666 characters of GB 2312's first level, 的 first."""

_WEIGHTS = list(accumulate(1 / (rank + 3) for rank in range(len(CHINESE))))


def corpus(count: int) -> Iterator[str]:
    """Yield texts of about one kilobyte each: six in ten Chinese, the others Python source."""
    rng = random.Random(1)
    source = "\n".join(
        path.read_text("utf-8", "ignore") for path in sorted(Path(os.__file__).parent.glob("*.py"))
    )
    needles = list(NEEDLES.values())
    for number in range(count):
        if rng.random() < 0.6:
            length = rng.randint(50, 560)
            text = "".join(rng.choices(CHINESE, cum_weights=_WEIGHTS, k=length))
        else:
            start = rng.randrange(len(source) - 3_000)
            text = source[start : start + rng.randint(100, 2_000)]
        if number % 2_000 == 1_000:
            place = rng.randrange(len(text))
            text = text[:place] + needles[number // 2_000 % len(needles)] + text[place:]
        yield text


async def fill(count: int) -> int:
    """Store conversations of 6 to 1,000 messages, in pages of 32 and a tail; return the bytes."""
    rng, now, texts = random.Random(2), utc_now(), corpus(count)
    first = await Counter.reserve("messages", count)
    number = size = 0
    conversations: list[Raw] = []
    pages: list[Raw] = []
    while number < count:
        length = min(rng.choice([6, 20, 40, 60, 200, 1_000]), count - number)
        messages = []
        for position in range(number, number + length):
            time = now - timedelta(seconds=10 * (count - position))
            message = Message(
                id=first + position,
                role="assistant" if position % 2 else "user",
                content=next(texts),
                created_at=time,
                updated_at=time,
                attempt=f"{first + position}:0",
            )
            messages.append(message.raw())
            size += len(message.content.encode())
        number += length
        conversation, of_it = _laid_out(f"会话 {number}", messages)
        conversations.append(conversation)
        pages += of_it
        if len(conversations) == 50 or number >= count:
            await Conversation.collection().insert_many(conversations)
            if pages:
                await MessagePage.collection().insert_many(pages)
            conversations, pages = [], []
    return size


def _laid_out(name: str, messages: list[Raw]) -> tuple[Raw, list[Raw]]:
    id_ = str(uuid4())
    pages: list[Raw] = []
    while len(messages) > 64:
        moved, messages = messages[:32], messages[32:]
        pages.append(
            {
                "_id": page_id(id_, len(pages)),
                "owner": DEFAULT_OWNER,
                "conversation_id": id_,
                "number": len(pages),
                "first_id": moved[0]["id"],
                "last_id": moved[-1]["id"],
                "changes": 0,
                "preceding": 32 * len(pages),
                "messages": moved,
            }
        )
    conversation = {
        **Conversation().model_dump(exclude={"id", "messages", "revision_id"}),
        "_id": id_,
        "name": name,
        "messages": messages,
        "page_count": len(pages),
        "last_paged_id": messages[0]["id"] - 1 if pages else 0,
        "paged_messages": 32 * len(pages),
        "updated_at": messages[-1]["updated_at"],
    }
    return conversation, pages
