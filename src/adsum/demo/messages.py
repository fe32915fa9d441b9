"""What coordinator and agents say to each other: length-prefixed msgpack on a Unix stream socket.

One assignment at a time goes to an agent, and one answer to it comes back under the same number.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import msgspec

from .._os.folder import short_path
from .job import FileReport, Lines, Symbols, Text

_length = struct.Struct("<I")


class Read(msgspec.Struct, frozen=True, array_like=True, tag="read"):
    path: str


class Parse(msgspec.Struct, frozen=True, array_like=True, tag="parse"):
    text: str


class Count(msgspec.Struct, frozen=True, array_like=True, tag="count"):
    text: str


class Check(msgspec.Struct, frozen=True, array_like=True, tag="check"):
    name: str
    source: Text
    symbols: Symbols
    lines: Lines


Work: TypeAlias = "Read | Parse | Count | Check"
Product: TypeAlias = "Text | Symbols | Lines | FileReport"


class Assignment(msgspec.Struct, frozen=True, array_like=True, tag="assignment"):
    number: int
    work: Read | Parse | Count | Check


class Done(msgspec.Struct, frozen=True, array_like=True, tag="done"):
    number: int
    product: Text | Symbols | Lines | FileReport


class Failed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """The agent lives, the work is impossible: no other agent would do better."""

    number: int
    why: str


Message: TypeAlias = "Assignment | Done | Failed"

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Assignment | Done | Failed)


class Connection:
    """One side of a conversation."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._received = bytearray()

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, message: Message) -> None:
        """Errors: `OSError`, when the other side is gone or takes nothing."""
        data = _encoder.encode(message)
        self.socket.sendall(_length.pack(len(data)) + data)

    def receive(self) -> list[Message]:
        """What the next bytes complete, perhaps nothing. Errors: `ConnectionError`, when no more will come."""
        part = self.socket.recv(1 << 20)
        if not part:
            raise ConnectionResetError("the other side has closed the connection")
        self._received += part
        return list(self._complete())

    def _complete(self) -> Iterator[Message]:
        while len(self._received) >= _length.size:
            (size,) = _length.unpack_from(self._received)
            end = _length.size + size
            if len(self._received) < end:
                return
            message = _decoder.decode(self._received[_length.size : end])
            del self._received[:end]
            yield message

    def close(self) -> None:
        self.socket.close()


def listen(path: Path) -> socket.socket:
    """A socket to be called at; what an earlier process left in its place is removed."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with short_path(path.parent) as folder:
        listener.bind(f"{folder}/{path.name}")
    listener.listen()
    return listener


def connect(path: Path, timeout: float) -> Connection:
    """Call who listens there. `timeout` is for this and for everything later. Errors: `OSError`."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    try:
        with short_path(path.parent) as folder:
            sock.connect(f"{folder}/{path.name}")
    except OSError:
        sock.close()
        raise
    return Connection(sock)
