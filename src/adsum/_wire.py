"""What clients and the registrar say to each other: length-prefixed msgpack on a Unix stream socket.

A connection opens with `Hello`, answered by `Welcome` or by `Failed`. Then the client sends requests, each with a
number of its own, rising by one, and gets one reply to each, `Done` or `Failed`, in any order. A client that lost its
registrar connects to the next one under the same session and sends again what was not answered; a request whose
change was committed is then answered with the reply that was committed with it.

Messages are arrays whose fields are only ever appended. `Hello` is frozen for good, so that two versions can tell each
other that they differ.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

from ._validation import MetadataFields
from .errors import BY_REASON, AdsumError
from .model import Entry, Owner, ProcessId

VERSION = 2
MAX_FRAME = 8 * 1024 * 1024
# Either side takes at most so much from a socket in one call.
READ_BYTES = 256 * 1024
SOCKET_NAME = "socket"

_length = struct.Struct("<I")


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """Who calls. `session` names the caller for its whole life, over as many connections as it takes."""

    version: int
    pid_namespace: int
    session: Annotated[bytes, msgspec.Meta(min_length=1, max_length=64)]
    owner: Owner


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag="welcome"):
    version: int
    registration_timeout: float


class Register(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="register"):
    """Register `items`, all or none, for `owner`. With `or_get`, one item whose id is held answers with its holder.

    `bound` ties the entries to the caller's session: they live inside its process and end when the session does.
    """

    owner: Owner
    items: list[tuple[ProcessId, MetadataFields]]
    bound: bool = False
    or_get: bool = False


class Update(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="update"):
    """Replace the given fields; with `checked`, `last_health_check` becomes now."""

    process_id: ProcessId
    fields: MetadataFields
    if_incarnation: int | None = None
    checked: bool = False


class Unregister(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="unregister"):
    process_id: ProcessId
    if_incarnation: int | None = None


class HandOver(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="hand_over"):
    """Give the id to another live process, under a new incarnation."""

    process_id: ProcessId
    owner: Owner
    if_incarnation: int


class Heartbeat(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="heartbeat"):
    """A sign of life from `owner`, which must be who owns the entry."""

    process_id: ProcessId
    owner: Owner
    if_incarnation: int | None = None


class StandBy(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="stand_by"):
    """Register `owner` as soon as the id is free. Answered by `Done` if it is, else by `Queued` at once and by `Done`
    or `Failed` under the same number when it is this one's turn."""

    process_id: ProcessId
    owner: Owner
    fields: MetadataFields


class Cancel(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="cancel"):
    """Stop standing by: the session's request with the number `stand_by`."""

    stand_by: int


class Listen(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="listen"):
    """Be woken after changes. The reply brings an eventfd along (SCM_RIGHTS, unix(7)), which is written then."""


class Done(msgspec.Struct, frozen=True, array_like=True, tag="done"):
    """It happened. `entries` are what stands now; `changed` is False where nothing had to be changed."""

    number: int
    entries: list[Entry]
    changed: bool = True


class Failed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """It did not happen, and nothing was changed. Number 0 speaks of the connection."""

    number: int
    reason: str
    message: str
    entry: Entry | None = None


class Queued(msgspec.Struct, frozen=True, array_like=True, tag="queued"):
    """It will be decided later, and the answer will come then."""

    number: int


AnyRequest = Register | Update | Unregister | HandOver | Heartbeat | StandBy | Cancel | Listen


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """A request on its way. `number` rises by one with each request of a session, and names its reply. The registrar
    does not apply the request after `deadline`, in nanoseconds on the monotonic clock."""

    number: Annotated[int, msgspec.Meta(ge=0)]
    deadline: int
    request: AnyRequest


AnyReply = Done | Failed | Queued


def _plain(value: object) -> object:
    """What msgspec does not know as it is. A value of a class derived from a plain one says what the plain one says."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, bytes):
        return bytes(memoryview(value))
    raise TypeError(f"a value of type {type(value).__name__} is no plain data")


_encode = msgspec.msgpack.Encoder(enc_hook=_plain).encode
decode_envelope = msgspec.msgpack.Decoder(Envelope).decode
decode_reply = msgspec.msgpack.Decoder(AnyReply).decode
decode_hello = msgspec.msgpack.Decoder(Hello).decode
decode_welcome = msgspec.msgpack.Decoder(Welcome | Failed).decode


class FrameTooLarge(ValueError):
    """The other side announced a frame of more than `MAX_FRAME` bytes."""


def frame(message: object) -> bytes:
    """A message as it goes over the socket. Raises `InvalidMetadata` where it is too large to send."""
    body = _encode(message)
    return _length.pack(len(body)) + body


class Frames:
    """Bytes in, whole frames out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def __iter__(self) -> Iterator[bytes]:
        """The frames that are complete. Raises `FrameTooLarge` before anything is kept for one that is."""
        start, size = 0, len(self._buffer)
        try:
            while size - start >= 4:
                (length,) = _length.unpack_from(self._buffer, start)
                if length > MAX_FRAME:
                    raise FrameTooLarge(f"a frame of {length} bytes was announced, at most {MAX_FRAME} are taken")
                if size - start - 4 < length:
                    return
                body = bytes(self._buffer[start + 4 : start + 4 + length])
                start += 4 + length
                yield body
        finally:
            del self._buffer[:start]


def failure(number: int, error: AdsumError) -> Failed:
    """An error as it goes over the socket."""
    return Failed(number, error.reason, str(error), getattr(error, "entry", None))


def error_from(failed: Failed) -> AdsumError:
    """The error a `Failed` reply stands for."""
    fields: dict[str, Any] = {} if failed.entry is None else {"entry": failed.entry}
    return BY_REASON.get(failed.reason, AdsumError)(failed.message, **fields)
