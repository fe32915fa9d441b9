"""The registrar gives no session token to another client, which could speak for the first one by mistake: no reply and
no entry, event or departure holds one. Processes of the same user can find it in the private part of a row."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import adsum
from adsum import _wire as wire
from adsum._os import identity
from adsum._store.current_tables import CurrentTables
from adsum._store.environment import Environment
from adsum._store.snapshot import Txn
from adsum._validation import MetadataFields
from adsum.model import ProcessId

from .by_hand import Caller, envelope, hello, unregister, update

A = ProcessId("default", "by-hand", "a")


def register_thread(number: int, *, or_get: bool = False) -> wire.Envelope:
    """A request to register a thread of this process."""
    items = [(A, MetadataFields())]
    return envelope(number, wire.Register(owner=identity.current(), items=items, bound=True, or_get=or_get))


@pytest.fixture
def serving(registry_folder: Path) -> Path:
    """A folder whose registrar serves for as long as `first` is registered."""
    with adsum.open(path=registry_folder) as registry:
        registry.register("first")
    return registry_folder


def test_no_reply_holds_a_session_token(serving: Path) -> None:
    """Neither the reply to the client whose thread is registered, nor one about that entry to another client."""
    session = os.urandom(16)
    with Caller(serving) as mine, Caller(serving) as other:
        mine.send(hello(session=session))
        mine.frame()
        mine.send(register_thread(1), update(2, "a", MetadataFields(endpoint="e")))
        frames = [mine.frame(), mine.frame()]
        other.introduce().send(register_thread(1), register_thread(2, or_get=True))
        frames += [other.frame(), other.frame()]
        replies = [wire.decode_reply(frame) for frame in frames]
        entries = [
            reply.entries[0] if isinstance(reply, wire.Done) else reply.entry
            for reply in replies
            if not isinstance(reply, wire.Queued)
        ]
        assert [entry.process_id for entry in entries if entry] == [A] * 4
        assert isinstance(replies[2], wire.Failed)
        assert replies[2].reason == "already_registered"
        assert not [frame for frame in frames if session in frame]


def test_no_row_that_readers_decode_holds_a_session_token(serving: Path) -> None:
    """The history and the departures keep entries alone; the session of a row of the entries is gone with the row."""
    session = os.urandom(16)
    with Caller(serving) as caller:
        caller.send(hello(session=session))
        caller.frame()
        caller.send(register_thread(1), update(2, "a", MetadataFields(endpoint="e")), unregister(3, "a"))
        for _ in range(3):
            caller.frame()
    rows = read_rows(serving)
    assert [len(rows["history"]), len(rows["departures"])] == [4, 1]
    assert not [row for name in rows for row in rows[name] if session in row]


def read_rows(folder: Path) -> dict[str, list[bytes]]:
    """The rows of the tables that readers decode."""
    empty: dict[str, list[bytes]] = {}

    def read(txn: Txn, environment: Environment) -> dict[str, list[bytes]]:
        names = ("entries", "history", "departures")
        return {name: [value for _, value in txn.cursor(environment.tables[name])] for name in names}

    tables = CurrentTables(folder)
    tables.current()
    try:
        return tables.read(read, empty)
    finally:
        tables.quiesce()
        tables.resume()
