"""A request that the registrar cannot read: the caller gets an error at once, and nothing else is harmed.

Whatever the reason, a client of another version or a defect of one side, the request would be unreadable again each
time that it is sent.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import adsum
from adsum import InternalError, RegistrarUnavailable, Registry
from adsum import _wire as wire
from adsum._client import connection_pool, pipeline
from adsum._client.bell import Waiter
from adsum._client.pending_call import PendingCall
from adsum._os import identity
from adsum._registrar.log_lines import CLIENT_LINES_PER_MINUTE
from adsum._validation import MetadataFields
from adsum.model import ProcessId

from ..support import eventually, registrar_pid
from .by_hand import Caller
from .test_log import lines

# A number where the registrar expects a bool.
UNREADABLE = wire.Register(
    owner=identity.current(),
    items=[(ProcessId("default", "by-hand", "x"), MetadataFields())],
    replace=1,  # type: ignore[arg-type]
)
GARBAGE = wire.frame(["no", "number"])


def ask(registry: Registry) -> object:
    """In the caller's thread, over the connection pool."""
    return registry._client.pool.ask(UNREADABLE, None)


def submit(registry: Registry) -> object:
    """In the pipeline's thread."""
    call = PendingCall(UNREADABLE, lambda done: done, None)
    registry._client.pipeline.submit(call)
    return call.future.result(timeout=60)


both_ways = pytest.mark.parametrize("send", [ask, submit])


@both_ways
def test_an_unreadable_request_is_refused(
    registry: Registry, registry_folder: Path, send: Callable[[Registry], object]
) -> None:
    """Its caller gets an `InternalError` that says what cannot be read. It was sent once, and nothing was changed."""
    registry.register("h")
    serving, before = registrar_pid(registry_folder), registry.stats().revision
    with pytest.raises(InternalError, match=r"Expected `bool`, got `int`.* nothing was changed.* report"):
        send(registry)
    assert (registrar_pid(registry_folder), registry.stats().revision) == (serving, before)
    assert len(lines(registry_folder, r"refused: internal_error, process \d+: .*Expected `bool`")) == 1
    assert lines(registry_folder, "client dropped") == []
    registry.register("y")


def test_an_unreadable_request_ends_no_member(registry: Registry) -> None:
    """The connection goes on, and so do the entries that are bound to it."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        incarnation = registry.register("thread", thread).entry.incarnation
        with pytest.raises(InternalError):
            submit(registry)
        registry.register_nowait("after").result(timeout=60)
        assert registry["thread"].incarnation == incarnation
    finally:
        over.set()
        thread.join()


@both_ways
def test_a_frame_without_a_number(
    registry: Registry,
    registry_folder: Path,
    send: Callable[[Registry], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The registrar refuses the connection, and the caller gets the reason. The next call finds another connection."""
    registry.register("h")
    serving = registrar_pid(registry_folder)
    with monkeypatch.context() as patch:
        for module in (connection_pool, pipeline):
            patch.setattr(module, "framed", lambda *_: GARBAGE)
        with pytest.raises(InternalError, match="cannot read"):
            send(registry)
    assert 1 <= len(lines(registry_folder, r"client dropped: process \d+, its frame is no message")) <= 2
    registry.register("y")
    registry.register_nowait("z").result(timeout=60)
    assert registrar_pid(registry_folder) == serving


def test_lines_about_clients_are_few(registry: Registry, registry_folder: Path) -> None:
    """Clients that send nonsense again and again push no other line out of the log."""
    registry.register("h")
    for _ in range(20 * CLIENT_LINES_PER_MINUTE):
        with Caller(registry_folder) as caller:
            caller.introduce().push(GARBAGE)
            refusal = caller.reply()
            assert isinstance(refusal, wire.Failed)
            assert (refusal.number, refusal.reason) == (0, "internal_error")
    # So many fit the minutes that the loop may touch.
    assert 1 <= len(lines(registry_folder, "client dropped")) <= 3 * CLIENT_LINES_PER_MINUTE


class DroppingRegistrar:
    """Welcomes each client, and ends the connection at its first request without a reply, as registrars did that could
    not read one."""

    def __init__(self, folder: Path) -> None:
        self.dropped = 0
        folder.mkdir(mode=0o700)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / wire.SOCKET_NAME))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        # Shut down, the listener accepts no more.
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client:
                    self._take_request(client)

    def _take_request(self, client: socket.socket) -> None:
        client.recv(65536)
        client.sendall(wire.frame(wire.Welcome(wire.VERSION, 1.0)))
        if client.recv(65536):
            self.dropped += 1

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


@pytest.fixture
def dropping(registry_folder: Path) -> Iterator[DroppingRegistrar]:
    with contextlib.closing(DroppingRegistrar(registry_folder)) as registrar:
        yield registrar


@both_ways
@pytest.mark.parametrize("timeout", [None, 30])
def test_a_living_registrar_that_drops_a_call(
    dropping: DroppingRegistrar, registry_folder: Path, send: Callable[[Registry], object], timeout: float | None
) -> None:
    """A registrar that ends the connection twice at the same call is not asked a third time: the call fails, and its
    error says which process did that."""
    with adsum.open(path=registry_folder, timeout=timeout) as registry:
        said = rf"process {identity.current().pid}\) lives, and ended the connection twice at this call"
        with pytest.raises(RegistrarUnavailable, match=said):
            send(registry)
    assert dropping.dropped == 2


def test_a_living_registrar_that_drops_a_watch(dropping: DroppingRegistrar, registry_folder: Path) -> None:
    """A watch that asks for the bell does not ask without end, either."""
    with adsum.open(path=registry_folder) as registry:
        said = "ended the connection twice at this call"
        with (
            contextlib.closing(Waiter(registry._client.bell, lambda: True)) as waiter,
            pytest.raises(RegistrarUnavailable, match=said),
        ):
            waiter.listen(30)
    assert dropping.dropped == 2


def test_calls_that_no_caller_waits_for(dropping: DroppingRegistrar, registry_folder: Path) -> None:
    """Of several calls in flight each fails at its second drop, and the pipeline goes on with later ones."""
    with adsum.open(path=registry_folder, timeout=30) as registry:
        for _ in range(2):
            futures = [registry.register_nowait(f"a-{number}") for number in range(5)]
            for future in futures:
                assert isinstance(future.exception(timeout=60), RegistrarUnavailable)
    eventually(lambda: dropping.dropped >= 4)
    assert dropping.dropped <= 20
