"""A draft whose text is replaced again and again keeps what its followers need, and no more."""

import tracemalloc
from contextlib import aclosing

from proxy.providers.base import Delta
from proxy.streaming.draft import Draft, Progress

KIB = 1024


async def test_replaced_texts_are_not_kept() -> None:
    draft = Draft()
    draft.add(Delta("searching"))
    async with (
        aclosing(draft.follow()) as slow,
        aclosing(draft.follow(accept_replace=True)) as replacing,
    ):
        assert (await anext(slow)).text == "searching"
        assert (await anext(replacing)).text == "searching"
        tracemalloc.start()
        try:
            for number in range(300):
                draft.add(Delta(f"{number} " + "x" * 100 * KIB, replace=True))
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert kept < 2 * KIB * KIB
        draft.add(Delta("searching, found", replace=True))
        draft.ended.set()
        draft.wake()
        assert [each async for each in slow] == [Progress(", found")]
        assert [each async for each in replacing] == [Progress("searching, found", replace=True)]


async def test_followers_at_different_texts_each_go_on_from_their_own() -> None:
    draft = Draft()
    draft.add(Delta("a"))
    async with aclosing(draft.follow()) as first:
        assert (await anext(first)).text == "a"
        draft.add(Delta("ab", replace=True))
        async with aclosing(draft.follow()) as second:
            assert (await anext(second)).text == "ab"
            draft.add(Delta("abc", replace=True))
            assert (await anext(second)).text == "c"
        draft.add(Delta("other", replace=True))
        draft.ended.set()
        draft.wake()
        assert [each async for each in first] == [Progress(differs=True)]
