"""How texts are compared beside the event loop."""

import sys

import pytest

from proxy.search.texts import SWITCH_SECONDS, compare


async def test_a_comparison_gives_way_sooner_and_only_while_it_runs() -> None:
    usual = sys.getswitchinterval()
    assert await compare(sys.getswitchinterval) == pytest.approx(SWITCH_SECONDS)
    assert sys.getswitchinterval() == usual > SWITCH_SECONDS

    def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await compare(fails)
    assert sys.getswitchinterval() == usual
