"""Slow, silent, half-open, greedy and numerous clients cost only themselves."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from adsum import Limits, Registry
from adsum import _wire as wire
from adsum._client.launch import Launch
from adsum._client.spawn import start_registrar
from adsum._registrar.connection import HELLO_SECONDS, MAX_BUFFERED_BYTES, MAX_UNSENT_BYTES
from adsum._registrar.server import MAX_BATCH
from adsum._validation import MetadataFields

from ..support import eventually, stopped
from .by_hand import Caller, hello, register, unregister, update
from .watched import Watched, open_descriptors, private_bytes

MEGABYTE = 1024 * 1024


@pytest.fixture
def callers() -> Iterator[contextlib.ExitStack]:
    """Connections to be closed at the end."""
    with contextlib.ExitStack() as stack:
        yield stack


def test_clients_that_never_say_hello(registry_folder: Path, callers: contextlib.ExitStack) -> None:
    """A client that sends nothing, or half a hello, is dropped after a few seconds."""
    with Watched(registry_folder) as watched:
        before = open_descriptors(watched.pid)
        silent = [callers.enter_context(Caller(registry_folder)) for _ in range(50)]
        for caller in silent[::2]:
            caller.push(wire.frame(hello())[:10])
        eventually(lambda: open_descriptors(watched.pid) >= before + 50)
        eventually(lambda: all(caller.is_dropped() for caller in silent), within=HELLO_SECONDS + 10)
        assert open_descriptors(watched.pid) == before


@pytest.mark.parametrize("how", [socket.SHUT_WR, socket.SHUT_RDWR])
def test_clients_that_are_half_open(how: int, registry_folder: Path, callers: contextlib.ExitStack) -> None:
    """A client that closes its side of a connection is dropped, with all that it has in flight."""
    with Watched(registry_folder) as watched:
        before = open_descriptors(watched.pid)
        for number in range(50):
            caller = callers.enter_context(Caller(registry_folder))
            caller.introduce().send(register(1, f"{number}"))
            caller.push(wire.frame(register(2, "half"))[:20])
            caller.sock.shutdown(how)
        eventually(lambda: open_descriptors(watched.pid) == before)


def test_a_frame_that_is_announced_too_large(registry_folder: Path, callers: contextlib.ExitStack) -> None:
    """A frame of more than the largest size is refused when it is announced, not when it has come in."""
    with Watched(registry_folder, allowance=MEGABYTE):
        for length in (wire.MAX_FRAME + 1, 2**32 - 1):
            caller = callers.enter_context(Caller(registry_folder)).introduce()
            caller.push(struct.pack("<I", length))
            eventually(caller.is_dropped)


def test_half_frames_of_many_clients(registry_folder: Path, callers: contextlib.ExitStack) -> None:
    """Frames that never end are kept up to a bound over all clients, and given back when these leave."""
    part = struct.pack("<I", wire.MAX_FRAME) + bytes(wire.MAX_FRAME - 8)
    with Watched(registry_folder, allowance=MAX_BUFFERED_BYTES // 2) as watched:
        before = private_bytes(watched.pid)
        for _ in range(2 * MAX_BUFFERED_BYTES // wire.MAX_FRAME):
            caller = callers.enter_context(Caller(registry_folder)).introduce()
            caller.push(part)
        assert private_bytes(watched.pid) - before < MAX_BUFFERED_BYTES + 3 * wire.MAX_FRAME
        callers.close()


def test_a_client_that_never_reads(registry_folder: Path, callers: contextlib.ExitStack) -> None:
    """A client that does not read its replies is paused until it does, and after a while is dropped."""
    large = MetadataFields(custom={"x": "y" * 60_000})
    with Watched(registry_folder, allowance=MAX_UNSENT_BYTES) as watched:
        caller = callers.enter_context(Caller(registry_folder)).introduce()
        caller.send(register(1, "large"))
        caller.reply()
        caller.send(update(2, "large", large))
        caller.reply()
        asked = 3

        def dropped() -> bool:
            nonlocal asked
            try:
                while select.select([], [caller.sock], [], 0)[1]:
                    # Small to ask, large to answer.
                    caller.send(update(asked, "large", MetadataFields(endpoint="x")))
                    asked += 1
            except ConnectionError:
                return True
            return False

        eventually(dropped, within=60)
        # At most one batch of answers more than the bound, as they are made and as they are joined.
        assert private_bytes(watched.pid) - watched.private < MAX_UNSENT_BYTES + 3 * MAX_BATCH * 64 * 1024


def test_a_client_that_floods(registry_folder: Path, callers: contextlib.ExitStack) -> None:
    """A client that floods gets `system_busy`; all its requests are answered, and no other client notices."""
    requests, kinds = 60_000, []
    with Watched(registry_folder, allowance=64 * MEGABYTE, patience=10):
        caller = callers.enter_context(Caller(registry_folder)).introduce()

        def read() -> None:
            for _ in range(requests):
                reply = caller.reply()
                kinds.append(reply.reason if isinstance(reply, wire.Failed) else "ok")

        thread = threading.Thread(target=read)
        thread.start()
        for first in range(0, requests, 1000):
            caller.sock.sendall(
                b"".join(wire.frame(unregister(number, f"{number}")) for number in range(first + 1, first + 1001))
            )
        thread.join(60)
    assert len(kinds) == requests
    assert set(kinds) <= {"ok", "system_busy"}


def test_many_that_flood(registry_folder: Path, callers: contextlib.ExitStack) -> None:
    """Several clients that flood and never read are dropped one by one; no other client notices."""
    flood = b"".join(wire.frame(unregister(number, f"{number}")) for number in range(1, 3001))
    with Watched(registry_folder, allowance=64 * MEGABYTE, patience=10):
        flooding = [callers.enter_context(Caller(registry_folder)).introduce() for _ in range(8)]
        for caller in flooding:
            caller.sock.setblocking(False)
        for _ in range(100):
            for caller in flooding:
                with contextlib.suppress(OSError):
                    caller.sock.send(flood)
        callers.close()


def test_a_thousand_clients(registry_folder: Path, registry: Registry, callers: contextlib.ExitStack) -> None:
    """A thousand connections are all served, and cost nothing any more when they are gone."""
    with Watched(registry_folder, patience=10) as watched:
        before = open_descriptors(watched.pid)
        crowd = [callers.enter_context(Caller(registry_folder)) for _ in range(1000)]
        for number, caller in enumerate(crowd):
            caller.send(hello(), register(1, f"{number}"))
        for caller in crowd:
            wire.decode_welcome(caller.frame())
            assert isinstance(caller.reply(), wire.Done)
        assert registry.count() == 1001
        for number, caller in enumerate(crowd):
            caller.send(unregister(2, f"{number}"))
        for caller in crowd:
            assert isinstance(caller.reply(), wire.Done)
        callers.close()
        eventually(lambda: open_descriptors(watched.pid) == before)


def test_a_full_backlog(registry_folder: Path, registry: Registry, callers: contextlib.ExitStack) -> None:
    """A call that comes while the kernel takes no more connections for the registrar waits for its turn."""
    registry_folder.mkdir(mode=0o700)
    start_registrar(registry_folder, Launch(Limits()), time.monotonic() + 10)
    with ThreadPoolExecutor(1) as pool:
        with stopped(registry_folder):
            with contextlib.suppress(BlockingIOError):
                while True:
                    sock = callers.enter_context(socket.socket(socket.AF_UNIX))
                    sock.setblocking(False)
                    sock.connect(str(registry_folder / "socket"))
            late = pool.submit(registry.register, "late")
            assert not wait([late], timeout=0.3).done
        assert late.result(10).entry.revision == 1


def test_a_session_that_is_taken_over(registry_folder: Path, callers: contextlib.ExitStack) -> None:
    """Two connections of one session are one caller: the newer one holds it, the older is hung up on."""
    with Watched(registry_folder):
        session = b"s" * 16
        older = callers.enter_context(Caller(registry_folder))
        older.send(hello(session=session))
        older.frame()
        newer = callers.enter_context(Caller(registry_folder))
        newer.send(hello(session=session), register(1, "mine"))
        newer.frame()
        assert isinstance(newer.reply(), wire.Done)
        eventually(older.is_dropped)
