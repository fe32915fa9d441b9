"""One client's connection, and what it may cost: a bounded buffer in each direction and a bounded wait for `Hello`.

The sockets of a registrar are of the class in C from which `socket.socket` is derived. The module of that class takes a
thirtieth of a registrar's start, and clients wait for it.
"""

import _socket
from array import array
from collections.abc import Callable
from typing import TypeAlias

from .. import _wire as wire
from .._os import identity
from ..model import Owner

MAX_UNSENT_BYTES = 2 * wire.MAX_FRAME
# Of all clients together: half-sent frames, and again requests in the backlog.
MAX_BUFFERED_BYTES = 64 * 1024 * 1024
HELLO_SECONDS = 5.0
CLOGGED_SECONDS = 10.0


class AcceptedConnection:
    """A non-blocking socket, the bytes that came in, and those that could not go out yet.

    `waiting` counts its requests in the backlog; `has_bell` says that the client got the bell; `unsent` are the numbers
    of its replies of which some bytes could not go out yet.
    """

    def __init__(self, sock: _socket.socket, now: int) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.since = now
        self.session: bytes | None = None
        self.owner: Owner | None = None
        self.closed = False
        self.has_bell = False
        self.waiting = 0
        self.clogged_since = 0
        self.frames: wire.Frames = wire.FrameBuffer()
        self.unsent: list[int] = []
        self._unsent = bytearray()

    @property
    def peer_uid(self) -> int:
        """The user at the other end, as the kernel knows it."""
        return identity.peer(self.sock)[1]

    @property
    def clogged(self) -> bool:
        """Whether the client has replies to read before anything else is sent to it."""
        return bool(self._unsent)

    def read(self) -> None:
        """Receive the bytes that have come. Raises `ConnectionError` at the end of the stream."""
        try:
            data = self.sock.recv(wire.READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        if not data:
            raise ConnectionResetError("closed by the client")
        self.frames.feed(data)

    def send(self, data: bytes) -> bool:
        """Send, and keep the bytes that do not fit the socket. True when all of them are in it.

        Raises `ConnectionError` when the client is gone, or has let more pile up than `MAX_UNSENT_BYTES`.
        """
        if len(self._unsent) > MAX_UNSENT_BYTES:
            raise ConnectionAbortedError("the client does not read its replies")
        if self._unsent:
            self._unsent += data
            return self.flush()
        try:
            sent = self.sock.send(data, _socket.MSG_NOSIGNAL)
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent == len(data):
            return True
        self._unsent += data[sent:]
        return False

    def hand_over(self, data: bytes, descriptor: int) -> None:
        """Send a few bytes together with a copy of a descriptor (SCM_RIGHTS). Raises `OSError` if they do not fit the
        socket: a client that asks for the descriptor has no other reply to read."""
        if self._unsent:
            raise ConnectionAbortedError("asked for a descriptor before it read its replies")
        rights = _socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", [descriptor])
        self.sock.sendmsg([data], [rights], _socket.MSG_NOSIGNAL)

    def flush(self) -> bool:
        """Send the bytes that were kept. True when none are left."""
        try:
            while self._unsent:
                del self._unsent[: self.sock.send(self._unsent, _socket.MSG_NOSIGNAL)]
        except (BlockingIOError, InterruptedError):
            return False
        return True

    def close(self) -> None:
        """Close the socket and free the buffers: the object may be kept for a while, in a traceback for example."""
        self.closed = True
        self.sock.close()
        self.frames = wire.FrameBuffer()
        self._unsent = bytearray()


def accept(listener: _socket.socket, now: int) -> AcceptedConnection:
    """The connection of the next client in the backlog. Raises `BlockingIOError` where there is none."""
    descriptor, _ = listener._accept()  # type: ignore[attr-defined]
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, descriptor)
    sock.setblocking(False)
    return AcceptedConnection(sock, now)


# As `accept` is. Another transport passes its own.
Accept: TypeAlias = Callable[[_socket.socket, int], AcceptedConnection]
