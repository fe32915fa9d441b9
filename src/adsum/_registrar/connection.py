"""One client's connection, and what it may cost: a bounded buffer in each direction and a bounded wait for `Hello`."""

from __future__ import annotations

import socket
import struct

from .. import _wire as wire
from ..model import Owner

READ_BYTES = 256 * 1024
MAX_UNSENT_BYTES = 2 * wire.MAX_FRAME
# Of all clients together: half-sent frames, and again requests that wait.
MAX_BUFFERED_BYTES = 64 * 1024 * 1024
HELLO_SECONDS = 5.0
CLOGGED_SECONDS = 10.0

_credentials = struct.Struct("3i")


class Connection:
    """A non-blocking socket, what has come in, and what could not yet go out."""

    def __init__(self, sock: socket.socket, now: int) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.since = now
        self.session: bytes | None = None
        self.owner: Owner | None = None
        self.closed = False
        self.listens = False
        self.waiting = 0
        self.clogged_since = 0
        self.frames = wire.Frames()
        self._unsent = bytearray()

    @property
    def peer_uid(self) -> int:
        """The user at the other end, by the kernel's word (SO_PEERCRED, unix(7))."""
        raw = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _credentials.size)
        return int(_credentials.unpack(raw)[1])

    @property
    def clogged(self) -> bool:
        """Whether the client has replies to read before anything else is sent to it."""
        return bool(self._unsent)

    def read(self) -> None:
        """Take in what has come. Raises `ConnectionError` at the end of the stream."""
        try:
            data = self.sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        if not data:
            raise ConnectionResetError("closed by the client")
        self.frames.feed(data)

    def send(self, data: bytes) -> bool:
        """Send, and keep what does not fit the socket. True when all of it went out.

        Raises `ConnectionError` when the client is gone, or has let more pile up than `MAX_UNSENT_BYTES`.
        """
        if len(self._unsent) > MAX_UNSENT_BYTES:
            raise ConnectionAbortedError("the client does not read its replies")
        if self._unsent:
            self._unsent += data
            return self.flush()
        try:
            sent = self.sock.send(data, socket.MSG_NOSIGNAL)
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent == len(data):
            return True
        self._unsent += data[sent:]
        return False

    def hand_over(self, data: bytes, descriptor: int) -> None:
        """Send a few bytes together with a copy of a descriptor (SCM_RIGHTS). Raises `OSError` where they do not fit:
        who asks for it has nothing else to read."""
        if self._unsent:
            raise ConnectionAbortedError("asked for a descriptor before it read its replies")
        socket.send_fds(self.sock, [data], [descriptor], socket.MSG_NOSIGNAL)

    def flush(self) -> bool:
        """Send what was kept. True when nothing is left."""
        try:
            while self._unsent:
                del self._unsent[: self.sock.send(self._unsent, socket.MSG_NOSIGNAL)]
        except (BlockingIOError, InterruptedError):
            return False
        return True

    def close(self) -> None:
        """Give back the socket, and what came in and did not go out: the connection itself may live on for a while, in
        an exception that ended it for example."""
        self.closed = True
        self.sock.close()
        self.frames = wire.Frames()
        self._unsent = bytearray()
