"""A connection to the registrar after its handshake: requests out, replies in.

The caller that sends a request usually waits for its reply itself, so no other thread has to wake it. It polls for a
moment before it sleeps (two-phase waiting: spin, then block), because the reply comes sooner than a sleeping processor
wakes.
"""

from __future__ import annotations

import _socket
import errno
import math
import os
import sys
import time
from collections.abc import Callable

from .. import _wire as wire
from .._foreign import reraise_foreign
from .._os import identity, polling
from .._os.descriptors import note
from .._os.yielding import YieldingWait
from ..errors import InvalidMetadata, Timeout

# How long a caller polls for its reply before it sleeps: several times what a registrar takes that is not busy.
SPIN_SECONDS = 0.0005
# One wait lasts at most this long; poll(2) and epoll_wait(2) count milliseconds in an int, some weeks.
LONG_SECONDS = 3600.0
# A reply that is on its way at the deadline is worth a moment: it says for certain what happened.
GRACE_SECONDS = 0.02
# How often a wait asks whether the descriptor is still that of the connection.
LOOK_SECONDS = 1.0
# Between two waits of which the kernel had no memory for the first.
_MEMORY_PAUSE_SECONDS = 0.005


class Connection:
    """A connection with a completed handshake. `registration_timeout` is the registry's own bound, in seconds;
    `clock_ahead` what the registrar's monotonic clock is ahead of this process's.

    Its socket is non-blocking. A socket with a timeout would cost a call of poll(2) before each operation, and one of
    `settimeout` before that. It is of the class in C from which `socket.socket` is derived: gevent and eventlet replace
    the derived class, and waits are the business of `_os.polling`.
    """

    def __init__(self, sock: _socket.socket, registration_timeout: float, frames: wire.Frames) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._descriptor = note(sock.fileno())
        self.registration_timeout = registration_timeout
        self.clock_ahead = 0.0
        self.frames = frames
        self._awake = YieldingWait()
        self._readable = polling.wait_set()
        self._readable.register(sock, polling.POLLIN)

    def send(self, data: bytes, until: float) -> None:
        """Send all of it. Raises `TimeoutError` at `until`, `ConnectionError` where the registrar is gone."""
        left = memoryview(data)
        while left:
            try:
                left = left[self.sock.send(left, _socket.MSG_NOSIGNAL) :]
            except BlockingIOError as error:
                reraise_foreign(error)
                self._wait_to_send(until)

    def receive(self, until: float) -> list[bytes]:
        """At least one frame. Raises `TimeoutError` at `until`, `ConnectionError` at the end of the stream."""
        # `iter`, because `list` asks for the length first, and swallows a TypeError that a signal handler raises then.
        while not (frames := list(iter(self.frames))):
            self.wait_to_receive(until)
            self.read()
        return frames

    def receive_first(self, until: float) -> bytes:
        """The first frame; later ones stay in `frames`. Raises as `receive`."""
        while (frame := next(iter(self.frames), None)) is None:
            self.wait_to_receive(until)
            self.read()
        return frame

    def read(self) -> None:
        """Move the bytes that have arrived into `frames`. Raises `ConnectionError` at the end of the stream."""
        data = self.sock.recv(wire.READ_BYTES)
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "the registrar closed the connection")
        self.frames.feed(data)

    def wait_to_receive(self, until: float) -> None:
        """Wait until there is something to receive. Raises `TimeoutError` at `until`, `OSError` where the program
        closed the descriptor meanwhile, and another file has its number."""
        now = time.monotonic()
        spin_until = now + SPIN_SECONDS if self._awake.may_begin(now) else 0.0
        try:
            while not self._readable.poll(0):
                # The registrar may need this processor to make the reply.
                if (now := time.monotonic()) >= spin_until or not self._awake.may_go_on(now):
                    break
            else:
                return
        except OSError as error:
            _require_out_of_memory(error)
        self._sleep(self._readable, until)

    def _wait_to_send(self, until: float) -> None:
        writable = polling.wait_set()
        writable.register(self.sock, polling.POLLOUT)
        self._sleep(writable, until)

    def _sleep(self, ready: polling.WaitSet, until: float) -> None:
        while True:
            try:
                if ready.poll(_milliseconds(min(until - time.monotonic(), LOOK_SECONDS))):
                    return
            except OSError as error:
                _require_out_of_memory(error)
                time.sleep(_MEMORY_PAUSE_SECONDS)
            if time.monotonic() >= until:
                raise _time_is_up()
            if not self.is_ours():
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def is_ours(self) -> bool:
        """Whether its descriptor is still this connection. The program may have closed it, and the kernel may have
        given its number to another file, which must not get a request."""
        return self._descriptor.is_ours()

    @property
    def registrar(self) -> int:
        """The pid of the process at the other end, also after it has ended the connection; 0 where the descriptor is no
        longer this connection."""
        if not self.is_ours():
            return 0
        return identity.peer(self.sock)[0]

    def close(self) -> None:
        if self.is_ours():
            self.sock.close()
        else:
            self.sock.detach()

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # A registry need not be closed before the program ends. The kernel closes the socket then; Python would warn.
        if is_finalizing():
            self.sock.detach()


def framed(request: wire.AnyRequest, number: int, until: float) -> bytes:
    """A request as bytes. Raises `InvalidMetadata` where it is too large for one message, or no plain data."""
    try:
        data = wire.frame(wire.Envelope(number, int(until * 1e9), request))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        reraise_foreign(error)
        raise InvalidMetadata(
            f"metadata: cannot be sent ({error}); give plain data: None, bool, int, float, str, bytes, list and dict"
        ) from error
    if len(data) > wire.MAX_FRAME:
        raise InvalidMetadata(
            f"metadata: the request is {len(data)} bytes, at most {wire.MAX_FRAME} fit one message; split it"
        )
    return data


def _require_out_of_memory(error: OSError) -> None:
    """Raise it again, unless the kernel had no memory for a wait (ENOMEM, poll(2)): then the reply may still come."""
    reraise_foreign(error)
    if error.errno != errno.ENOMEM:
        raise error


def expired(seconds: float) -> Timeout:
    """The error of a call that got no reply within `seconds`."""
    return Timeout(
        f"no answer within {seconds:g} s. A request is not applied after its deadline; check with lookup() whether "
        "this one was applied just before. Try again, or give a longer timeout="
    )


def _time_is_up() -> TimeoutError:
    return TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


def _milliseconds(seconds: float) -> int:
    """As poll(2) takes them: rounded up, and bounded."""
    return math.ceil(max(0.0, min(seconds, LONG_SECONDS)) * 1000)
