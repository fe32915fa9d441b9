"""From a folder to a connection on which requests can be sent."""

from __future__ import annotations

import math
import os
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from .. import _wire as wire
from .._os import folder as folders
from .._os import identity
from .._os.liveness import descriptors_needed
from ..errors import AdsumError, CorruptRegistry, RegistrarUnavailable, RegistryClosed, Timeout, VersionMismatch
from ..model import Limits
from .spawn import start_registrar

# How long a call without a timeout of its own waits for a registrar to start and to answer the first message.
START_SECONDS = 10.0
AWAKE_SECONDS = 0.0002
# How long one wait lasts at most; poll(2) and epoll_wait(2) take no more than some weeks.
LONG_SECONDS = 3600.0
READ_BYTES = 256 * 1024
FULL_PAUSE = 0.005


class Connection:
    """A connection that has been greeted. `registration_timeout` is the registry's own bound.

    Its socket does not block: one that has a timeout asks poll(2) before each call, and has that timeout set before.
    """

    def __init__(self, sock: socket.socket, registration_timeout: float, frames: wire.Frames) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.registration_timeout = registration_timeout
        self.frames = frames
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN)

    def send(self, data: bytes, until: float) -> None:
        """Send all of it. Raises `TimeoutError` at `until`, `ConnectionError` where nobody is there any more."""
        left = memoryview(data)
        while left:
            try:
                left = left[self.sock.send(left, socket.MSG_NOSIGNAL) :]
            except BlockingIOError:
                self._wait_to_send(until)

    def receive(self, until: float) -> list[bytes]:
        """At least one frame. Raises `TimeoutError` at `until`, `ConnectionError` at the end of the stream."""
        while not (frames := list(self.frames)):
            self._fill(until)
        return frames

    def receive_first(self, until: float) -> bytes:
        """The first frame; what came with it stays in `frames`. Raises as `receive`."""
        while (frame := next(iter(self.frames), None)) is None:
            self._fill(until)
        return frame

    def _fill(self, until: float) -> None:
        # A reply comes sooner than a sleeping processor wakes; give way to whoever has work, then sleep.
        awake = time.monotonic() + AWAKE_SECONDS
        while not self._readable.poll(0):
            if (now := time.monotonic()) < awake:
                os.sched_yield()
            elif self._readable.poll(_milliseconds(until - now)):
                break
            elif time.monotonic() >= until:
                raise TimeoutError
        data = self.sock.recv(READ_BYTES)
        if not data:
            raise ConnectionResetError("the registrar closed the connection")
        self.frames.feed(data)

    def _wait_to_send(self, until: float) -> None:
        writable = select.poll()
        writable.register(self.sock, select.POLLOUT)
        if not writable.poll(_milliseconds(until - time.monotonic())) and time.monotonic() >= until:
            raise TimeoutError

    def close(self) -> None:
        self.sock.close()


def _milliseconds(seconds: float) -> int:
    """As poll(2) takes them: never too few, and no more than it can count."""
    return math.ceil(max(0.0, min(seconds, LONG_SECONDS)) * 1000)


def _always() -> bool:
    return True


def dial(
    folder: Path,
    limits: Limits,
    session: bytes,
    until: float,
    answer: float = START_SECONDS,
    *,
    may_start: Callable[[], bool] = _always,
) -> Connection:
    """A greeted connection to the registrar of `folder`, started if none serves, for as long as it `may_start`. One
    that serves has `answer` seconds.

    Errors: `Timeout` at `until`; `RegistryClosed` where none serves and none may be started; `RegistrarUnavailable`;
    whatever keeps a registrar from serving this folder; what the registrar says to this caller (`PermissionDenied`,
    `VersionMismatch`, `WrongNamespace`); `SystemBusy`.
    """
    with descriptors_needed():
        return _dial(folder, limits, session, until, answer, may_start)


def _dial(
    folder: Path, limits: Limits, session: bytes, until: float, answer: float, may_start: Callable[[], bool]
) -> Connection:
    answered = min(until, time.monotonic() + answer)
    while True:
        sock = _connect(folder, answered)
        if sock is not None:
            try:
                return _greet(sock, session, answered)
            except TimeoutError as error:
                sock.close()
                raise Timeout(
                    f"the registrar of {folder} does not answer (is it stopped?); nothing was changed. Try again; "
                    "adsum doctor says more"
                ) from error
            except ConnectionError:
                # It was just leaving, or was killed: the next one is as good.
                sock.close()
            except BaseException:
                sock.close()
                raise
        if time.monotonic() >= until:
            raise Timeout(
                f"no registrar serves {folder} yet; nothing was changed. Try again, or with a longer timeout="
            )
        if not may_start():
            raise RegistryClosed("this registry was closed; open another")
        start_registrar(folder, limits, until)
        answered = until


def _connect(folder: Path, until: float) -> socket.socket | None:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if not folders.check(folder):
            sock.close()
            return None
        sock.settimeout(max(0.0001, until - time.monotonic()))
        with folders.short_path(folder) as reachable:
            sock.connect(f"{reachable}/{wire.SOCKET_NAME}")
        return sock
    except (FileNotFoundError, ConnectionError):
        sock.close()
        return None
    except BlockingIOError:
        # More are connecting than the registrar has accepted yet (unix(7): EAGAIN).
        sock.close()
        if time.monotonic() >= until:
            raise Timeout(f"the registrar of {folder} takes no more connections at the moment; try again") from None
        time.sleep(FULL_PAUSE)
        return _connect(folder, until)
    except TimeoutError as error:
        sock.close()
        raise Timeout(f"the registrar of {folder} takes no more connections at the moment; try again") from error
    except AdsumError:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        raise RegistrarUnavailable(f"cannot connect to the registrar of {folder}: {error}; run adsum doctor") from error


def _greet(sock: socket.socket, session: bytes, until: float) -> Connection:
    connection = Connection(sock, 0.0, wire.Frames())
    hello = wire.Hello(wire.VERSION, identity.pid_namespace(), session, identity.current())
    connection.send(wire.frame(hello), until)
    try:
        answer = wire.decode_welcome(connection.receive_first(until))
    except (msgspec.MsgspecError, ValueError) as error:
        raise CorruptRegistry(f"what answers at the registrar's socket is no registrar: {error}") from error
    if isinstance(answer, wire.Failed):
        raise wire.error_from(answer)
    if answer.version != wire.VERSION:
        raise VersionMismatch(f"the registrar speaks protocol {answer.version}, this client {wire.VERSION}; restart it")
    connection.registration_timeout = answer.registration_timeout
    return connection
