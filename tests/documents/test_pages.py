"""The tail and its pages against a plain list: random work, with moves cut at every step."""

import asyncio
import random
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

import pytest

from proxy.database import Database
from proxy.documents.base import DEFAULT_OWNER
from proxy.documents.conversation import Conversation, ConversationNotFound
from proxy.documents.counter import Counter
from proxy.documents.message import attempt_name
from proxy.documents.message_deletion import delete_messages
from proxy.documents.message_location import (
    LocatedMessage,
    MessageLocation,
    MessageNotFound,
    edit_message,
    remove_conversation,
)
from proxy.documents.message_page import MessagePage, page_id
from proxy.documents.message_revision import list_revisions
from tests.support.depth import cases
from tests.support.pages import listed, message, move


class Killed(Exception):
    """The process died at this step."""


@pytest.fixture(autouse=True)
async def _prepared(wire: Database) -> None:
    await wire.prepare()


class Model:
    """The conversation as a plain list, and the same work done on both."""

    def __init__(self, id_: str, rng: random.Random) -> None:
        self.id = id_
        self.rng = rng
        self.texts: dict[int, str] = {}
        self.former: dict[int, list[str]] = {}
        self.writing: dict[int, str] = {}
        self.late: list[int] = []
        self.serial = 0

    def text(self) -> str:
        self.serial += 1
        return f"{self.serial} " + "x" * self.rng.choice([0, 10, 500, 2_000])

    async def append(self) -> None:
        """New messages; some come later than others whose ids were reserved after theirs."""
        count = self.rng.randint(1, 3)
        first = await Counter.reserve("messages", count)
        if self.rng.random() < 0.3:
            self.late.append(first)
            return
        if self.late and self.rng.random() < 0.5:
            first, count = self.late.pop(), 1
        new = {first + n: self.text() for n in range(count)}
        messages = [message(id_, text) for id_, text in new.items()]
        if self.rng.random() < 0.3:
            id_ = first + count - 1
            messages[-1] |= {"status": "streaming", "role": "assistant", "worker": "w"}
            self.writing[id_] = attempt_name(id_, 0)
        if await Conversation.append(DEFAULT_OWNER, self.id, messages):
            self.texts |= new
        else:
            self.writing.pop(first + count - 1, None)

    async def edit(self) -> None:
        ids = [id_ for id_ in self.texts if id_ not in self.writing]
        if ids:
            id_, text = self.rng.choice(ids), self.text()
            await edit_message(DEFAULT_OWNER, id_, text)
            self.former.setdefault(id_, []).append(self.texts[id_])
            self.texts[id_] = text

    async def delete(self) -> None:
        if self.texts:
            ids = self.rng.sample(sorted(self.texts), min(len(self.texts), self.rng.randint(1, 3)))
            assert await delete_messages(DEFAULT_OWNER, [*ids, -1]) == len(ids)
            for id_ in ids:
                del self.texts[id_]
                self.writing.pop(id_, None)

    async def checkpoint(self) -> None:
        """A piece of a reply, or its end, written to where the reply is now."""
        if self.writing:
            id_ = self.rng.choice(sorted(self.writing))
            text = self.text()
            ends = self.rng.random() < 0.4
            located = await LocatedMessage.find(DEFAULT_OWNER, id_)
            assert await located.location.write(
                self.writing[id_],
                {"content": text, "status": "complete" if ends else "streaming"},
                unset=("worker",) if ends else (),
            )
            self.texts[id_] = text
            if ends:
                del self.writing[id_]

    async def step(self, depth: int = 0) -> None:
        kinds = [self.append] * 4 + [self.edit, self.delete, self.checkpoint, self.checkpoint]
        if depth < 2 and self.rng.random() < 0.35:
            await self.move(depth)
        else:
            await self.rng.choice(kinds)()

    async def move(self, depth: int) -> None:
        """A move in which other work happens at every step, or that dies at one of them."""
        dies_at = self.rng.choice([None, 0, 1, 2, 3])

        async def hook(step: int) -> None:
            if self.rng.random() < 0.5:
                await self.step(depth + 1)
            if step == dies_at:
                raise Killed

        with suppress(Killed):
            await move(self.id, hook)

    async def check(self) -> None:
        found = await listed(self.id)
        assert [m["id"] for m in found] == sorted(self.texts)
        assert {m["id"]: m["content"] for m in found} == self.texts
        raw = await Conversation.with_tail(DEFAULT_OWNER, self.id)
        assert raw["paged_messages"] == len(found) - len(raw["messages"])
        if self.texts:
            id_ = self.rng.choice(sorted(self.texts))
            located = await LocatedMessage.find(DEFAULT_OWNER, id_)
            assert located.message["content"] == self.texts[id_]
            if located.location.in_page:
                assert id_ <= raw["last_paged_id"]
            former = await list_revisions(DEFAULT_OWNER, located.message)
            assert [m["content"] for m in former] == self.former.get(id_, [])
            limit = self.rng.randint(1, 9)
            for before in (id_, id_ + 1, None):
                part = await Conversation.history_before(
                    DEFAULT_OWNER, self.id, before=before, limit=limit
                )
                below = [i for i in sorted(self.texts) if before is None or i < before]
                assert [m["id"] for m in part] == below[-limit:]


@pytest.mark.parametrize("seed", range(cases(2, in_ci=6)))
async def test_random_work_with_moves_cut_anywhere_is_what_a_plain_list_would_be(seed: int) -> None:
    rng = random.Random(seed)
    conversation = Conversation()
    await conversation.create()
    model = Model(conversation.id, rng)
    for _ in range(90):
        await model.step()
        await model.check()
    raw = await Conversation.with_tail(DEFAULT_OWNER, model.id)
    assert raw["page_count"] > 0


@pytest.mark.parametrize("seed", range(3))
async def test_concurrent_work_loses_nothing_and_doubles_nothing(seed: int) -> None:
    rng = random.Random(100 + seed)
    conversation = Conversation()
    await conversation.create()
    id_ = conversation.id
    texts: dict[int, str] = {}
    deleted: set[int] = set()

    async def append(n: int) -> None:
        for _ in range(20):
            first = await Counter.reserve("messages", 2)
            new = [message(first, f"a{n}"), message(first + 1, f"b{n}")]
            if await Conversation.append(DEFAULT_OWNER, id_, new):
                texts.update({first: f"a{n}", first + 1: f"b{n}"})
                return
        raise AssertionError("an append never came through")

    async def edit(n: int) -> None:
        target = rng.choice(sorted(texts))
        try:
            await edit_message(DEFAULT_OWNER, target, f"e{n}")
        except MessageNotFound:
            assert target in deleted
        else:
            edits.setdefault(target, []).append(f"e{n}")

    async def delete() -> None:
        target = rng.choice(sorted(texts))
        deleted.add(target)
        await delete_messages(DEFAULT_OWNER, [target])

    edits: dict[int, list[str]] = {}
    for n in range(4):
        await append(n)
    for round_ in range(6):
        work: list[Awaitable[Any]] = [append(10 * round_ + n) for n in range(6)]
        work += [edit(10 * round_ + n) for n in range(4)]
        work += [delete(), move(id_), move(id_), move(id_)]
        rng.shuffle(work)
        await asyncio.gather(*work)

    found = await listed(id_)
    ids = [m["id"] for m in found]
    assert ids == sorted(set(texts) - deleted)
    for m in found:
        written = edits.get(m["id"], [texts[m["id"]]])
        assert m["content"] in written
        former = [each["content"] for each in await list_revisions(DEFAULT_OWNER, m)]
        assert sorted([*former, m["content"]]) == sorted({texts[m["id"]], *written})


async def filled(count: int) -> tuple[str, list[int]]:
    conversation = Conversation()
    await conversation.create()
    first = await Counter.reserve("messages", count)
    ids = list(range(first, first + count))
    messages = [message(id_, f"m{id_}") for id_ in ids]
    assert await Conversation.append(DEFAULT_OWNER, conversation.id, messages)
    return conversation.id, ids


@pytest.mark.parametrize("dies_at", [0, 1, 2, 3])
async def test_a_move_that_died_at_any_step_is_finished_by_the_next(dies_at: int) -> None:
    id_, ids = await filled(10)

    async def hook(step: int) -> None:
        if step == dies_at:
            raise Killed

    with pytest.raises(Killed):
        await move(id_, hook)
    assert [m["id"] for m in await listed(id_)] == ids
    await move(id_)
    assert [m["id"] for m in await listed(id_)] == ids
    assert (await Conversation.with_tail(DEFAULT_OWNER, id_))["page_count"] == 1


async def test_an_edit_between_the_copy_and_the_commit_wins() -> None:
    id_, ids = await filled(10)

    async def hook(step: int) -> None:
        if step == 2 and not edited:
            edited.append(ids[0])
            await edit_message(DEFAULT_OWNER, ids[0], "edited")

    edited: list[int] = []
    assert await move(id_, hook)
    found = await listed(id_)
    assert [m["id"] for m in found] == ids
    assert found[0]["content"] == "edited"
    assert (await LocatedMessage.find(DEFAULT_OWNER, ids[0])).location.in_page


async def test_turns_that_are_faster_than_a_move_do_not_keep_it_from_ending() -> None:
    """Otherwise the tail would grow, and a move of a larger one takes longer still."""
    id_, ids = await filled(10)

    async def turn(_: int) -> None:
        new = await Counter.reserve("messages", 1)
        reply = message(new, "", role="assistant", status="streaming", worker="w")
        if await Conversation.append(DEFAULT_OWNER, id_, [reply]):
            ids.append(new)
            place = MessageLocation(DEFAULT_OWNER, id_, id_)
            end = {"content": "whole", "status": "complete"}
            assert await place.write(attempt_name(new, 0), end, unset=("worker",))

    assert await move(id_, turn)
    raw = await Conversation.with_tail(DEFAULT_OWNER, id_)
    assert raw["page_count"] == 1
    found = await listed(id_)
    assert [m["id"] for m in found] == ids
    assert [m["content"] for m in found[10:]] == ["whole"] * (len(ids) - 10)


async def test_the_end_of_a_reply_that_moves_is_in_its_copy() -> None:
    id_, ids = await filled(10)
    fields = {"content": "whole", "status": "complete"}
    place = MessageLocation(DEFAULT_OWNER, id_, id_)
    ended: list[int] = []

    async def end_the_first(step: int) -> None:
        if step == 2 and not ended:
            ended.append(step)
            assert await place.write(attempt_name(ids[0], 0), fields)

    assert await move(id_, end_the_first)
    found = await listed(id_)
    assert [m["id"] for m in found] == ids
    assert found[0]["content"] == "whole"


async def test_a_delete_between_the_copy_and_the_commit_wins() -> None:
    id_, ids = await filled(10)

    async def hook(step: int) -> None:
        if step == 2 and not deleted:
            deleted.append(ids[0])
            assert await delete_messages(DEFAULT_OWNER, [ids[0]]) == 1

    deleted: list[int] = []
    await move(id_, hook)
    assert [m["id"] for m in await listed(id_)] == ids[1:]
    with pytest.raises(MessageNotFound):
        await LocatedMessage.find(DEFAULT_OWNER, ids[0])


async def test_a_copy_that_a_dead_move_left_behind_is_not_found() -> None:
    id_, ids = await filled(10)

    async def hook(step: int) -> None:
        if step == 2:
            raise Killed

    with pytest.raises(Killed):
        await move(id_, hook)
    assert await MessagePage.collection().find_one({"_id": page_id(id_, 0)}) is not None
    await delete_messages(DEFAULT_OWNER, ids[:3])
    for deleted in ids[:3]:
        with pytest.raises(MessageNotFound):
            await LocatedMessage.find(DEFAULT_OWNER, deleted)
        with pytest.raises(MessageNotFound):
            await edit_message(DEFAULT_OWNER, deleted, "x")
    await move(id_)
    assert [m["id"] for m in await listed(id_)] == ids[3:]


async def test_ten_movers_at_once_make_one_page() -> None:
    id_, ids = await filled(10)
    results = await asyncio.gather(*(move(id_) for _ in range(10)))
    assert results.count(True) == 1
    assert [m["id"] for m in await listed(id_)] == ids


async def test_a_turn_whose_ids_were_passed_by_a_move_reserves_new_ones() -> None:
    id_, _ = await filled(5)
    late = await Counter.reserve("messages", 2)
    first = await Counter.reserve("messages", 6)
    newer = [message(first + n, "newer") for n in range(6)]
    assert await Conversation.append(DEFAULT_OWNER, id_, newer)
    while await move(id_):
        pass
    assert not await Conversation.append(DEFAULT_OWNER, id_, [message(late, "late")])
    again = await Counter.reserve("messages")
    assert await Conversation.append(DEFAULT_OWNER, id_, [message(again, "late")])
    ids = [m["id"] for m in await listed(id_)]
    assert ids == sorted(ids)
    assert ids[-1] == again


@pytest.mark.parametrize(("at", "is_stored"), [(1, True), (2, False)])
async def test_a_turn_that_arrives_late_while_a_move_is_under_way_keeps_the_order(
    at: int, is_stored: bool
) -> None:
    """Before the range is closed it moves along, afterwards it needs new ids."""
    late = await Counter.reserve("messages")
    id_, ids = await filled(10)
    answers: list[bool] = []

    async def hook(step: int) -> None:
        if step == at and not answers:
            new = [message(late, "late")]
            answers.append(await Conversation.append(DEFAULT_OWNER, id_, new))

    assert await move(id_, hook)
    assert answers == [is_stored]
    assert [m["id"] for m in await listed(id_)] == [late] * is_stored + ids


async def test_the_system_message_stays_in_the_tail() -> None:
    id_, ids = await filled(3)
    system = await Counter.reserve("messages")
    state = await Conversation.prompt_state(DEFAULT_OWNER, id_)
    assert await Conversation.put_prompt(state, {"system_prompt": "Be brief."}, system)
    first = await Counter.reserve("messages", 20)
    more = list(range(first, first + 20))
    await Conversation.append(DEFAULT_OWNER, id_, [message(n, "x") for n in more])
    while await move(id_):
        pass
    assert [m["id"] for m in await listed(id_)] == [system, *ids, *more]
    assert not (await LocatedMessage.find(DEFAULT_OWNER, system)).location.in_page


async def test_a_deleted_conversation_leaves_nothing_behind() -> None:
    id_, ids = await filled(10)
    await move(id_)
    await edit_message(DEFAULT_OWNER, ids[0], "edited")
    await remove_conversation(DEFAULT_OWNER, id_, worker="w")
    with pytest.raises(ConversationNotFound):
        await listed(id_)
    for document_id in ids:
        with pytest.raises(MessageNotFound):
            await LocatedMessage.find(DEFAULT_OWNER, document_id)
    assert await MessagePage.collection().count_documents({"conversation_id": id_}) == 0


async def test_a_stranger_finds_nothing() -> None:
    id_, ids = await filled(10)
    await move(id_)
    for message_id in (ids[0], ids[-1]):
        with pytest.raises(MessageNotFound):
            await LocatedMessage.find("stranger", message_id)
        with pytest.raises(MessageNotFound):
            await edit_message("stranger", message_id, "x")
    assert await delete_messages("stranger", ids) == 0
    with pytest.raises(ConversationNotFound):
        await remove_conversation("stranger", id_, worker="w")
    assert not await Conversation.append("stranger", id_, [message(10**12, "x")])
    assert [m["id"] for m in await listed(id_)] == ids
