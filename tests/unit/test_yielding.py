"""A wait that stays awake, `adsum._os.yielding`: it ends where another thread had the processor, and only there."""

from __future__ import annotations

import os
import sys
import time

import pytest

from adsum._os import yielding
from adsum._os.yielding import CROWDED_SECONDS, YieldingWait

from ..support import Child


def burn(processor: str) -> None:
    """In a child: use a processor all the time."""
    os.sched_setaffinity(0, {int(processor)})
    print("burning", flush=True)
    while not sys.stdin.closed:
        pass


def test_a_processor_that_another_process_wants() -> None:
    """A busy process on the same processor is noticed, and the next waits do not begin for a while."""
    allowed = os.sched_getaffinity(0)
    processor = min(allowed)
    with Child(burn, str(processor)) as child:
        child.expect("burning")
        os.sched_setaffinity(0, {processor})
        try:
            wait, until = YieldingWait(), time.monotonic() + 10
            assert wait.may_begin(time.monotonic())
            while wait.may_go_on(now := time.monotonic()):
                assert now < until
        finally:
            os.sched_setaffinity(0, allowed)
        assert not wait.may_begin(now + CROWDED_SECONDS / 2)
        assert wait.may_begin(now + CROWDED_SECONDS * 2)
        child.kill()


@pytest.mark.parametrize(("away", "switches", "goes_on"), [(0.0, 9, True), (5.0, 0, True), (5.0, 1, False)])
def test_what_ends_it(monkeypatch: pytest.MonkeyPatch, away: float, switches: int, goes_on: bool) -> None:
    """Neither a short turn of another thread ends it, nor a halt of the whole machine; a long turn of another does."""
    now, seen = [100.0], [7]

    def give_away() -> None:
        now[0] += away
        seen[0] += switches

    monkeypatch.setattr(os, "sched_yield", give_away)
    monkeypatch.setattr(yielding, "_switches", lambda: seen[0])
    wait = YieldingWait(lambda: now[0])
    assert wait.may_begin(now[0])
    assert wait.may_go_on(now[0]) is goes_on
    assert wait.may_begin(100.0) is goes_on
