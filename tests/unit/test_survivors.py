"""The list of the members of a lost folder, between two registrars."""

from __future__ import annotations

import io
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec
import pytest

from adsum._os import identity
from adsum._os.log import Log
from adsum._registrar import survivors
from adsum._registrar.connection import AcceptedConnection
from adsum._registrar.survivors import Survivor, SurvivorList, SurvivorSocket
from adsum._store.layout import key_of
from adsum.model import Owner, ProcessId

MEMBER = Survivor(ProcessId("default", "here", "leader"), Owner(7, 8, 9))
Serve = Callable[[bytes], None]


@pytest.fixture
def log() -> Log:
    return Log(io.StringIO())


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Answers one registrar that asks in place of `tmp_path`, in a thread."""
    with ExitStack() as opened:
        threads = []

        def serve(answer: bytes) -> None:
            listener = opened.enter_context(socket.socket(socket.AF_UNIX))
            survivors._bind(listener, str(tmp_path))
            listener.listen()

            def reply() -> None:
                connection, _ = listener.accept()
                with connection, suppress(BrokenPipeError):
                    connection.sendall(answer)

            threads.append(threading.Thread(target=reply, daemon=True))
            threads[-1].start()

        yield serve
        for thread in threads:
            thread.join(10)


def _listed(folder: Path | str, lost_at: int = 1, member: Survivor = MEMBER) -> bytes:
    return msgspec.msgpack.encode(SurvivorList(str(folder), identity.pid_namespace(), lost_at, [member]))


def test_nothing_is_reserved_where_no_registrar_answers(tmp_path: Path, log: Log) -> None:
    """Usually no process has the names."""
    assert survivors.ask(tmp_path, log) == {}


def test_the_last_holder_counts(tmp_path: Path, log: Log, serve: Serve) -> None:
    """Of two lists the newer one has the holder of an id."""
    serve(_listed(tmp_path, 2, Survivor(MEMBER.process_id, Owner(1, 1, 1))))
    serve(_listed(tmp_path, 1))
    found = survivors.ask(tmp_path, log)
    assert {key: one.owner.pid for key, one in found.items()} == {key_of(MEMBER.process_id): 1}


@pytest.mark.parametrize("answer", [b"", b"\xff", _listed("/another/path")], ids=["nothing", "garbage", "another path"])
def test_an_answer_that_is_no_list_of_this_folder(answer: bytes, tmp_path: Path, log: Log, serve: Serve) -> None:
    """It reserves nothing, and a list at another name counts."""
    serve(answer)
    serve(_listed(tmp_path))
    assert list(survivors.ask(tmp_path, log)) == [key_of(MEMBER.process_id)]


def test_a_list_of_another_user(tmp_path: Path, log: Log, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reserves nothing."""
    serve(_listed(tmp_path))
    monkeypatch.setattr(identity, "peer", lambda _: (1, os.geteuid() + 1, 1))
    assert survivors.ask(tmp_path, log) == {}


def test_a_process_that_does_not_answer(tmp_path: Path, log: Log) -> None:
    """A registrar that hangs does not keep the next one from its start."""
    with socket.socket(socket.AF_UNIX) as listener:
        survivors._bind(listener, str(tmp_path))
        listener.listen()
        assert survivors.ask(tmp_path, log) == {}


def test_all_names_are_taken(tmp_path: Path, log: Log) -> None:
    """Then a registrar serves without an address for the next one, and forks nothing."""
    *taken, other = [SurvivorSocket(tmp_path, log) for _ in range(survivors._NAMES + 1)]
    for one in (*taken, other):
        one.listen()
    assert other.descriptor == -1
    other.answer_in_fork([MEMBER])
    for one in taken:
        assert one.descriptor >= 0
        one.close()


def test_connections_are_turned_away(tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the folder is in its place each connection is closed, and one of another user is noticed."""
    mine = SurvivorSocket(tmp_path, log)
    mine.listen()
    assert not mine.turn_away()
    for expected in (False, True):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(survivors._names(str(tmp_path))[0])
            if expected:
                monkeypatch.setattr(AcceptedConnection, "peer_uid", os.geteuid() + 1)
            assert mine.turn_away() is expected
            assert client.recv(1) == b""
    mine.close()


def test_a_registrar_does_not_ask_itself(tmp_path: Path, log: Log) -> None:
    """It has no name before it listens."""
    mine = SurvivorSocket(tmp_path, log)
    for name in survivors._names(str(tmp_path)):
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
            client.connect(name)
    assert mine.descriptor >= 0
    mine.close()
