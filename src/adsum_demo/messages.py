"""The protocol between coordinator and agents: length-prefixed msgpack on a stream socket, a Unix socket on one machine
and TCP between hosts.

A coordinator sends an agent one assignment at a time; the agent answers it under the same number. This protocol is the
demo's own: the registry only says at which address an agent listens.
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
READ_BYTES = 1 << 20
# A host that has just been lost answers nothing; one that is there answers at once.
CONNECT_SECONDS = 1.0
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
    """The work is impossible for any agent; the agent itself is well."""

    number: int
    why: str


Message: TypeAlias = "Assignment | Done | Failed"

_encode = msgspec.msgpack.Encoder().encode


def frame(message: msgspec.Struct) -> bytes:
    """A message with its length in front, as it is sent."""
    data = _encode(message)
    return _length.pack(len(data)) + data


class Frames(Generic[T]):
    """Decodes messages of one type from the bytes of a stream."""

    def __init__(self, kind: Any) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)
        self._received = bytearray()

    def feed(self, part: bytes) -> list[T]:
        """The messages that these bytes complete, perhaps none."""
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


def message_frames() -> Frames[Message]:
    """A decoder for one side of a connection."""
    return Frames(Assignment | Done | Failed)


class Connection:
    """One side of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._frames = message_frames()

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, message: Message) -> None:
        """Errors: `OSError` where the other side is gone, or does not read."""
        self.socket.sendall(frame(message))

    def receive(self) -> list[Message]:
        """The messages that the next bytes complete, perhaps none. Errors: `ConnectionError` at the end of the
        stream."""
        part = self.socket.recv(READ_BYTES)
        if not part:
            raise ConnectionResetError("the other side has closed the connection")
        return self._frames.feed(part)

    def close(self) -> None:
        self.socket.close()


def listen(path: Path) -> socket.socket:
    """A listening socket. A file that an earlier process left at this path is removed."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with short_path(path.parent) as folder:
        listener.bind(f"{folder}/{path.name}")
    listener.listen()
    return listener


def listen_on(ip: str) -> tuple[socket.socket, str]:
    """A listening socket for other hosts, and its endpoint."""
    listener = socket.create_server((ip, 0))
    return listener, f"tcp://{ip}:{listener.getsockname()[1]}"


def connect(endpoint: str | None, timeout: float) -> Connection:
    """Connect to the agent with this endpoint, ``unix:PATH`` or ``tcp://IP:PORT``. `timeout` bounds each later call.
    Errors: `OSError`; `ValueError` for another endpoint."""
    scheme, _, where = (endpoint or "").partition(":")
    if scheme == "tcp":
        ip, _, port = where.removeprefix("//").rpartition(":")
        sock = socket.create_connection((ip, int(port)), min(timeout, CONNECT_SECONDS))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(timeout)
        return Connection(sock)
    if scheme != "unix":
        raise ValueError(f"endpoint {endpoint!r} is neither unix: nor tcp:")
    return _connect_unix(Path(where), timeout)


def _connect_unix(path: Path, timeout: float) -> Connection:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    try:
        with short_path(path.parent) as folder:
            sock.connect(f"{folder}/{path.name}")
    except OSError:
        sock.close()
        raise
    return Connection(sock)
