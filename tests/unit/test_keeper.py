"""What the keeper keeps while threads register and unregister members at the same time."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from adsum import _wire as wire
from adsum._client.keeper import Keeper, KeptEntry
from adsum.model import EPOCH, Entry, Metadata, ProcessId

ROUNDS = 2000


@pytest.fixture(autouse=True)
def switching() -> Iterator[None]:
    """Threads take turns as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def kept(name: str) -> KeptEntry:
    entry = Entry(ProcessId("default", "n", name), 1, 1, 1, 1, EPOCH, EPOCH, 1, Metadata())
    return KeptEntry(entry, 1, None, lambda: None)


def test_an_id_without_a_node_is_looked_for_while_others_are_registered(tmp_path: Path) -> None:
    """A search of the keeper by an id without a node is safe while other threads add and remove members."""
    keeper = Keeper(tmp_path, None)
    # In place of its own, which would register anew.
    keeper._thread = threading.current_thread()
    for number in range(150):
        # They make each search long enough to be met.
        keeper.keep(kept(f"stays-{number}"))
    ends = threading.Event()
    others = [kept(f"other-{number}") for number in range(50)]

    def register() -> None:
        while not ends.is_set():
            for one in others:
                keeper.keep(one)
            for one in others:
                # As the keeper does with members that have ended.
                keeper._kept.pop(one.entry.process_id)

    thread = threading.Thread(target=register)
    thread.start()
    try:
        for number in range(ROUNDS):
            keeper.keep(kept(f"own-{number}"))
            dropped = keeper.drop(ProcessId("default", wire.NODE_OF_REGISTRY, f"own-{number}"))
            assert dropped is not None
    finally:
        ends.set()
        thread.join()
