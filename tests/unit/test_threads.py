"""Threads of adsum's own: their start and their end."""

from __future__ import annotations

import threading

from adsum._os import threads


def test_joining_does_not_fail() -> None:
    """Joining waits for a thread that runs, and passes by one that an interrupt kept from starting, and this very one:
    a registry that is closed after an interrupt closes."""
    ended = threading.Event()
    thread = threading.Thread(target=ended.set)
    threads.join(thread, 10)
    threads.start(thread)
    threads.join(thread, 10)
    assert ended.is_set()
    threads.join(threading.current_thread(), 10)
