"""What coordinator and agents say to each other: length-prefixed msgpack on a Unix stream socket.

One assignment at a time goes to an agent, and one answer to it comes back under the same number.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from adsum.admin import short_path

from .job import FileReport, Lines, PackageTotals, Symbols, Text

T = TypeVar("T")
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


class Sum(msgspec.Struct, frozen=True, array_like=True, tag="sum"):
    package: str
    files: list[FileReport]


class Totals(msgspec.Struct, frozen=True, array_like=True, tag="totals"):
    totals: PackageTotals


Work: TypeAlias = "Read | Parse | Count | Check | Sum"
Product: TypeAlias = "Text | Symbols | Lines | FileReport | Totals"


class Assignment(msgspec.Struct, frozen=True, array_like=True, tag="assignment"):
    number: int
    work: Read | Parse | Count | Check | Sum


class Done(msgspec.Struct, frozen=True, array_like=True, tag="done"):
    number: int
    product: Text | Symbols | Lines | FileReport | Totals


class Failed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """The agent lives, the work is impossible: no other agent would do better."""

    number: int
    why: str


Message: TypeAlias = "Assignment | Done | Failed"

_encode = msgspec.msgpack.Encoder().encode


def framed(message: msgspec.Struct) -> bytes:
    """A message as it is sent: its length first."""
    data = _encode(message)
    return _length.pack(len(data)) + data


class Frames(Generic[T]):
    """Messages of one type, put together again from whatever parts they come in."""

    def __init__(self, kind: Any) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)
        self._received = bytearray()

    def feed(self, part: bytes) -> list[T]:
        """What these bytes complete, perhaps nothing."""
        self._received += part
        messages: list[T] = []
        while len(self._received) >= _length.size:
            (size,) = _length.unpack_from(self._received)
            end = _length.size + size
            if len(self._received) < end:
                break
            messages.append(self._decoder.decode(self._received[_length.size : end]))
            del self._received[:end]
        return messages


def conversation() -> Frames[Message]:
    return Frames(Assignment | Done | Failed)


class Connection:
    """One side of a conversation."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._frames = conversation()

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, message: Message) -> None:
        """Errors: `OSError`, when the other side is gone or takes nothing."""
        self.socket.sendall(framed(message))

    def receive(self) -> list[Message]:
        """What the next bytes complete, perhaps nothing. Errors: `ConnectionError`, when no more will come."""
        part = self.socket.recv(1 << 20)
        if not part:
            raise ConnectionResetError("the other side has closed the connection")
        return self._frames.feed(part)

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
