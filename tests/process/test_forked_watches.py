"""Watches that are open when their process forks: parent and child each have their own from then on."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

import adsum
from adsum import Registry, Watch

from ..support import WITHIN, Agent, eventually
from .people import in_fork

# The pause after each change lets the watches fall asleep, so that each change has to wake them.
_WRITE = """
import threading
for number in range(100):
    registry.update('a', custom={'n': number})
    threading.Event().wait(0.005)
"""


def next_revisions(watch: Watch, number: int) -> list[int]:
    """The revisions of the next `number` events."""
    return [int(watch.next(WITHIN).revision) for _ in range(number)]


@pytest.mark.parametrize("heard", [False, True])
def test_a_watch_goes_on_in_a_fork(registry: Registry, heard: bool) -> None:
    """Child and parent each get every event after the fork, whether or not the parent had waited before."""
    registry.register("a")
    forked, forking = os.pipe()

    def child() -> list[int]:
        os.write(forking, b"!")
        return next_revisions(watch, 100)

    with registry.watch() as watch, Agent(registry.folder) as writer, ThreadPoolExecutor() as threads:
        if heard:
            with pytest.raises(adsum.Timeout):
                watch.next(0.01)
        theirs = threads.submit(in_fork, child)
        assert os.read(forked, 1)
        writer.do(_WRITE)
        assert next_revisions(watch, 100) == theirs.result() == list(range(2, 102))
    os.close(forked)
    os.close(forking)


def test_a_fork_is_not_held_up_by_who_waits_in_the_parent(registry: Registry) -> None:
    """A child can use a watch at once in which a thread of the parent waits; that wait continues."""
    registry.register("a")
    with registry.watch() as watch, ThreadPoolExecutor() as threads:
        waiting = threads.submit(watch.next, WITHIN)
        eventually(lambda: watch._waiting and watch._waiter.hears)

        def child() -> list[int]:
            registry.register("b")
            return next_revisions(watch, 1)

        try:
            assert in_fork(child, WITHIN) == [2]
        finally:
            registry.register("c")
            assert waiting.result().revision == 2


def test_a_closed_copy_closes_nothing_of_the_parents(registry: Registry) -> None:
    """A child that closes the watch, or exits without closing it, does not affect the parent's watch."""
    registry.register("a")
    with registry.watch() as watch, ThreadPoolExecutor() as threads:
        waiting = threads.submit(watch.next, WITHIN)
        eventually(lambda: watch._waiting and watch._waiter.hears)
        in_fork(watch.close)
        in_fork(lambda: None)
        registry.register("b")
        assert waiting.result().revision == 2
