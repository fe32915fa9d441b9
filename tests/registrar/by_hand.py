"""A client made by hand, which need not keep to the protocol."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from pathlib import Path
from types import TracebackType

from adsum import _wire as wire
from adsum._os import folder as folders
from adsum._os import identity
from adsum._validation import MetadataFields
from adsum.model import Owner, ProcessId

from ..support import WITHIN, eventually


def hello(
    *,
    version: int = wire.VERSION,
    pid_namespace: int | None = None,
    session: bytes | None = None,
    owner: Owner | None = None,
) -> wire.Hello:
    """What a caller says first; right in every field that is not given."""
    return wire.Hello(
        version,
        identity.pid_namespace() if pid_namespace is None else pid_namespace,
        session or os.urandom(16),
        owner or identity.current(),
    )


def envelope(number: int, request: wire.AnyRequest, *, seconds: float = 60.0) -> wire.Envelope:
    """A request in its envelope, with a deadline in `seconds` from now."""
    return wire.Envelope(number, time.monotonic_ns() + int(seconds * 1e9), request)


def register(number: int, name: str, *, seconds: float = 60.0, owner: Owner | None = None) -> wire.Envelope:
    """A request to register `name` for this process."""
    items = [(ProcessId("default", "by-hand", name), MetadataFields())]
    return envelope(number, wire.Register(owner=owner or identity.current(), items=items), seconds=seconds)


def update(number: int, name: str, fields: MetadataFields, *, seconds: float = 60.0) -> wire.Envelope:
    """A request to update what `register` made."""
    process_id = ProcessId("default", "by-hand", name)
    return envelope(number, wire.Update(process_id=process_id, fields=fields), seconds=seconds)


def unregister(number: int, name: str, *, seconds: float = 60.0) -> wire.Envelope:
    """A request to unregister what `register` made."""
    return envelope(number, wire.Unregister(process_id=ProcessId("default", "by-hand", name)), seconds=seconds)


class Caller:
    """A connection to the registrar of `folder`, on which nothing has been said yet."""

    def __init__(self, folder: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(WITHIN)
        self._frames = wire.FrameBuffer()
        with folders.short_path(folder) as reachable:
            eventually(lambda: self._connected(f"{reachable}/{wire.SOCKET_NAME}"))

    def _connected(self, address: str) -> bool:
        try:
            self.sock.connect(address)
        except BlockingIOError:
            # So many are waiting to be accepted that the kernel takes no more (connect(2), EAGAIN).
            return False
        return True

    def introduce(self) -> Caller:
        """Say `Hello` and hear `Welcome`."""
        self.send(hello())
        wire.decode_welcome(self.frame())
        return self

    def send(self, *messages: object) -> None:
        self.sock.sendall(b"".join(map(wire.frame, messages)))

    def push(self, data: bytes) -> None:
        """Send bytes to a registrar that may have hung up already."""
        with contextlib.suppress(ConnectionError):
            self.sock.sendall(data)

    def frame(self) -> bytes:
        """The next frame that comes. `ConnectionError` at the end of the stream."""
        while True:
            for body in self._frames:
                return body
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionResetError("the registrar hung up")
            self._frames.feed(data)

    def reply(self) -> wire.AnyReply:
        reply: wire.AnyReply = wire.decode_reply(self.frame())
        return reply

    def is_dropped(self) -> bool:
        """Whether the registrar has hung up on it, looking past what it said before."""
        try:
            while select.select([self.sock], [], [], 0)[0]:
                if not self.sock.recv(65536):
                    return True
        except ConnectionError:
            return True
        return False

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, _kind: object, _error: object, _traceback: TracebackType | None) -> None:
        self.close()


def exchange(folder: Path, *messages: object) -> list[wire.AnyReply]:
    """The replies to some requests of a caller that behaves."""
    with Caller(folder) as caller:
        caller.introduce().send(*messages)
        return [caller.reply() for _ in messages]
