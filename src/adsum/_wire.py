"""The messages between clients and the registrar: length-prefixed msgpack on a Unix stream socket.

A connection opens with `Hello`, which `Welcome` or `Failed` answers. Then the client sends requests in envelopes, whose
numbers rise by one, and receives one reply to each, `Done` or `Failed`, in any order. A client that lost its registrar
connects to the next one under the same session and sends every envelope again that has no reply. If the change of such
a request was committed, its reply was committed with it and is sent now, so a request happens at most once
(exactly-once RPC with a reply log, as in RIFL: Lee et al., SOSP 2015).

Messages are arrays whose fields are only ever appended. The two sides may differ by such fields in both directions: a
receiver ignores fields that it does not know and has a default for those that are missing. A registrar that does not
know a kind of request, a metadata field or its value refuses that request by its number; a kind of reply that a client
does not know fails that one call. `Hello` is frozen for good, so that any two versions can refuse each other in words.

A request that cannot be read is a defect of one of the two sides, and would be one each time that it is sent. It is
refused by its number too; a frame without a readable number is refused by number 0, before the connection ends.
"""

import re
import struct
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Protocol, get_args

import msgspec

from ._amendment import NOTHING, MergeFields
from ._foreign import reraise_foreign
from ._validation import MetadataFields
from .errors import BY_REASON, AdsumError, InternalError, InvalidMetadata, VersionMismatch
from .model import Entry, Owner, OwningMember, ProcessId

VERSION = 2
# The oldest version that differs from this one by appended fields and kinds only.
OLDEST = 2
MAX_FRAME = 8 * 1024 * 1024
# Either side takes at most so much from a socket in one call. From 128 KiB on malloc(3) maps memory for each call, and
# unmaps it.
READ_BYTES = 64 * 1024
SOCKET_NAME = "socket"
# In place of the node, in a request to register or to stand by: the registrar puts the registry's own node there.
NODE_OF_REGISTRY = ""

_length = struct.Struct("<I")


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """The first message of a client. `session` identifies it over all its connections."""

    version: int
    pid_namespace: int
    session: Annotated[bytes, msgspec.Meta(min_length=1, max_length=64)]
    owner: Owner


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag="welcome"):
    """The answer to `Hello`. `clock` is the registrar's monotonic clock at that moment, in nanoseconds; 0 where the
    registrar does not send it."""

    version: int
    registration_timeout: float
    clock: int = 0


class Register(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="register"):
    """Register `items`, all or none, for `owner`. With `or_get`, one item whose id is held answers with its holder.
    With `replace`, ids that `owner` itself holds are registered anew.

    `bound` ties the entries to the caller's session: they live inside its process and end when the session does.
    """

    owner: Owner
    items: list[tuple[ProcessId, MetadataFields]]
    bound: bool = False
    or_get: bool = False
    replace: bool = False


class RegisterOwned(Register, frozen=True, array_like=True, tag="register_owned"):
    """`Register`, for entries that end with the process of `owned_by`, too.

    It is a kind of its own, because an older registrar would ignore a field appended to `Register`, and register
    entries that no member owns. Its own field is no keyword, so it comes first, and those of `Register` can be appended
    to.
    """

    owned_by: OwningMember


class Update(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="update"):
    """Replace the given fields; with `checked`, `last_health_check` becomes now."""

    process_id: ProcessId
    fields: MetadataFields
    if_incarnation: int | None = None
    checked: bool = False


class Amend(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="amend"):
    """Replace `fields`, merge `merged` and add `added`, in this order, to the entry at its newest revision; with
    `if_revision`, only where that is this one.

    It is a kind of its own, because an older registrar would ignore fields appended to `Update`, and apply the rest.
    """

    process_id: ProcessId
    fields: MetadataFields
    if_incarnation: int | None = None
    if_revision: int | None = None
    merged: MergeFields = NOTHING
    added: dict[str, int | float] = {}


class Unregister(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="unregister"):
    process_id: ProcessId
    if_incarnation: int | None = None


class UpdateMany(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="update_many"):
    """Replace the given fields of several entries, of all or none. Answered by the entries after it."""

    items: list[tuple[ProcessId, MetadataFields]]


class UnregisterMany(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="unregister_many"):
    """Remove the entries under these ids, all at once. An entry of another incarnation than the given one stays.
    Answered by the outlines of the entries that were removed."""

    items: list[tuple[ProcessId, int | None]]


class HandOver(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="hand_over"):
    """Give the id to another live process, under a new incarnation. `gauges` are the values of its gauges that are
    handed over too."""

    process_id: ProcessId
    owner: Owner
    if_incarnation: int
    gauges: dict[str, float] = {}


class Heartbeat(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="heartbeat"):
    """A heartbeat from `owner`, which must own the entry."""

    process_id: ProcessId
    owner: Owner
    if_incarnation: int | None = None


class StandBy(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="stand_by"):
    """Register `owner` as soon as the id is free. Answered by `Done` if it is, else by `Queued` at once and by `Done`
    or `Failed` under the same number when it is this one's turn. `position` is the one that it had in a registry that
    is gone, 0 for none."""

    process_id: ProcessId
    owner: Owner
    fields: MetadataFields
    position: int = 0


class StandByEverywhere(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="stand_by_everywhere"):
    """Register `owner` under a name for the whole cluster: the id's namespace and local id, which no other host may
    hold. Answered by `Queued` at once, and by `Done` or `Failed` under the same number when the bridge has asked the
    cluster. Unless it `waits`, a name that is held is a refusal. `position` is as in `StandBy`. With `replaces`, an
    entry of this process under the id is replaced."""

    process_id: ProcessId
    owner: Owner
    fields: MetadataFields
    waits: bool
    position: int = 0
    replaces: bool = False


class NameAnswer(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="name_answer"):
    """What the cluster said to the `StandByEverywhere` that a session sent with this number: the name is granted under
    a `token`, or refused, for the `reason` of an error. `Done` without a change where that standby is over.

    `holder` is the id that holds the name, and `host` its host; both are empty where no other member is the reason."""

    session: bytes
    stand_by: int
    token: int = 0
    reason: str = ""
    message: str = ""
    holder: ProcessId | None = None
    host: str = ""


class Retoken(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="retoken"):
    """The name of an entry has another token, because the lease of its host was lost; or another host has the name
    (token 0), so the entry ends. `Done` without a change where the id has another incarnation."""

    process_id: ProcessId
    incarnation: int
    token: int


class Cancel(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="cancel"):
    """Stop standing by: the session's request with the number `stand_by`."""

    stand_by: int


class ExitOf(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="exit_of"):
    """How the process `owner` ended: an exit code, or the negative number of a signal. From a process that knows it.
    Answered by `Done` without entries; `changed` is False where no departure lacks it."""

    owner: Owner
    code: Annotated[int, msgspec.Meta(ge=-255, le=255)]


class Claim(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="claim"):
    """Claim a slot of one healthy member for `owner`: of `process_id`, or of one that meets `conditions`, those of a
    search as plain data (see `_store.sent_query`), in `namespace`, or in all of them for None.

    Answered by `Done` with the member's entry, which has the claim under `number`. Where all slots are taken: by
    `Failed`, or, where it `may_wait`, by `Queued` at once and by `Done` or `Failed` under the request's number when it
    is this one's turn. `position` is the one that it had with an earlier registrar, 0 for none.
    """

    owner: Owner
    number: Annotated[int, msgspec.Meta(ge=0)]
    namespace: str | None
    conditions: dict[str, Any] = {}
    process_id: ProcessId | None = None
    may_wait: bool = True
    position: int = 0


class Release(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="release"):
    """End the claim of `owner` with this number, whether it waits or holds a slot. `Done` without a change where there
    is none."""

    owner: Owner
    number: Annotated[int, msgspec.Meta(ge=0)]


class Listen(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="listen"):
    """Be woken after changes. The reply brings an eventfd along (SCM_RIGHTS, unix(7)), which is written then."""


class RemoteHost(msgspec.Struct, frozen=True, array_like=True):
    """What the bridge has learned of another host of the cluster.

    `state` is one of: ``here``, it vouches for its entries and has said that all of them are there; ``returning``, it
    vouches for them, and some may be missing; ``unreachable``, it does not vouch for them now; ``gone``, it is given
    up, and its entries end as `how` says. `boot_id`, `fence`, `epoch`, that of its registry, and `tenure`, which names
    the tenure of its bridge, are empty where it is not here.
    """

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    state: Literal["here", "returning", "unreachable", "gone"]
    boot_id: bytes = b""
    fence: int = 0
    nodes: frozenset[str] = frozenset()
    how: str = "unreachable_forgotten"
    epoch: int = 0
    tenure: bytes = b""


class RemoteChange(msgspec.Struct, frozen=True, array_like=True):
    """The entry that another host has under an id, as its own registry stores it; None where it has none any more.
    `how` and `exit` say how the entry ended that was there before, as in a `Departure`. `epoch` is that of the other
    registry."""

    host: str
    process_id: ProcessId
    entry: Entry | None = None
    how: str = "unknown"
    exit: int | None = None
    epoch: int = 0


class RemoteExit(msgspec.Struct, frozen=True, array_like=True):
    """How the process of another host ended that held this incarnation of an id, in the registry with this epoch: it
    has become known after the death."""

    host: str
    process_id: ProcessId
    epoch: int
    incarnation: int
    code: int


class ApplyRemote(msgspec.Struct, frozen=True, array_like=True, kw_only=True, tag="mirror"):
    """What the bridge heard from the cluster at one moment: changes of other hosts, in order. First those of `hosts`
    that take reach away, then `changes` of their entries and `exits`, then those of `hosts` that give it. Answered by
    `Done`."""

    hosts: list[RemoteHost] = []
    changes: list[RemoteChange] = []
    exits: list[RemoteExit] = []


class Done(msgspec.Struct, frozen=True, array_like=True, tag="done"):
    """The request was carried out. `entries` are the entries after it; `changed` is False where nothing changed."""

    number: int
    entries: list[Entry]
    changed: bool = True


class Failed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """The request was refused, and nothing was changed. Number 0 refuses the connection, which then ends."""

    number: int
    reason: str
    message: str
    entry: Entry | None = None


class Queued(msgspec.Struct, frozen=True, array_like=True, tag="queued"):
    """The request waits in the tables, at this position. Its reply, `Done` or `Failed`, follows under the same
    number."""

    number: int
    position: int = 0


AnyRequest = (
    Register
    | RegisterOwned
    | Update
    | Amend
    | Unregister
    | HandOver
    | Heartbeat
    | StandBy
    | Cancel
    | Listen
    | UpdateMany
    | UnregisterMany
    | ExitOf
    | Claim
    | Release
    | ApplyRemote
    | StandByEverywhere
    | NameAnswer
    | Retoken
)


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """A request on its way. `number` rises by one with each request of a session, and names its reply. The registrar
    does not apply the request after `deadline`, in nanoseconds on the registrar's monotonic clock."""

    number: Annotated[int, msgspec.Meta(ge=0)]
    deadline: int
    request: AnyRequest


AnyReply = Done | Failed | Queued


def _plain(value: object) -> object:
    """A value of a class derived from a plain type, as a value of the plain type; msgspec encodes only that."""
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
_decode_reply = msgspec.msgpack.Decoder(AnyReply).decode
decode_hello = msgspec.msgpack.Decoder(Hello).decode
decode_welcome = msgspec.msgpack.Decoder(Welcome | Failed).decode


class _EnvelopeHead(msgspec.Struct, array_like=True):
    number: Annotated[int, msgspec.Meta(ge=0)]
    deadline: int
    request: msgspec.Raw


class _ReplyHead(msgspec.Struct, array_like=True):
    kind: str
    number: int


_decode_envelope_head = msgspec.msgpack.Decoder(_EnvelopeHead).decode
_decode_reply_head = msgspec.msgpack.Decoder(_ReplyHead).decode
_REQUEST_KINDS = frozenset(kind.__struct_config__.tag for kind in get_args(AnyRequest))
_REPLY_KINDS = frozenset(kind.__struct_config__.tag for kind in get_args(AnyReply))
# The decoder's words for a field, or a value of a field, that only a later version knows.
# Compiled when it is needed first.
_UNKNOWN = (
    r"Object contains unknown (?P<what>field) `(?P<field>\w+)`"
    r"|Invalid enum (?P<value>value '.*') - at `\$\S*\.(?P<of>\w+)`$"
)


def read_envelope(body: bytes) -> Envelope | Failed:
    """The envelope in a frame, or the refusal of a request that only a later version knows, or that cannot be read.
    Errors: the decoder's, where the frame has no number to refuse."""
    try:
        return decode_envelope(body)
    except msgspec.ValidationError as error:
        head = _decode_envelope_head(body)
        return failure(head.number, _later_version_in(head.request, str(error)) or unreadable(error))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # Invalid UTF-8 in the request, for one.
        return failure(_decode_envelope_head(body).number, unreadable(error))


def unreadable(error: Exception) -> InternalError:
    """The refusal of a frame that the decoder does not accept."""
    return InternalError(
        f"the registrar cannot read this request ({error}); nothing was changed. This is a defect of adsum: please "
        "report it, with the file registrar.log of the registry's folder"
    )


def _later_version_in(request: msgspec.Raw, said: str) -> AdsumError | None:
    kind = _first_word(request)
    if kind is not None and kind not in _REQUEST_KINDS:
        return VersionMismatch(
            f"this registrar is older than its client: it does not know the request {kind!r}; nothing was changed. "
            "Replace it: adsum registrar --replace"
        )
    if (unknown := re.match(_UNKNOWN, said)) is not None:
        field, what = unknown["field"] or unknown["of"], unknown["what"] or unknown["value"]
        return InvalidMetadata(
            f"metadata.{field}: this registrar does not know the {what}, it may be older than its client; nothing was "
            "changed. Replace it: adsum registrar --replace"
        )
    return None


def _first_word(request: msgspec.Raw) -> str | None:
    """The tag of a request, whatever its fields are."""
    try:
        fields = msgspec.msgpack.decode(request, type=list[msgspec.Raw])
        return msgspec.msgpack.decode(fields[0], type=str) if fields else None
    except msgspec.MsgspecError:
        return None


def decode_reply(body: bytes) -> AnyReply:
    """The reply in a frame. A kind of a later version becomes the refusal of that one call. Errors: the decoder's."""
    try:
        reply: AnyReply = _decode_reply(body)
        return reply
    except msgspec.ValidationError as error:
        reraise_foreign(error)
        head = _decode_reply_head(body)
        if head.kind in _REPLY_KINDS:
            raise
        return failure(
            head.number,
            VersionMismatch(
                f"the registrar is newer than this client, which does not know its reply {head.kind!r}; upgrade "
                "adsum in this environment"
            ),
        )


class FrameTooLarge(ValueError):
    """The sender announced a frame of more than `MAX_FRAME` bytes."""


def frame(message: object) -> bytes:
    """A message as a frame."""
    body = _encode(message)
    return _length.pack(len(body)) + body


class Frames(Protocol):
    """The port: bytes in, whole frames out. `tests/conformance/test_frames.py` is its suite."""

    def feed(self, data: bytes) -> None:
        """Take in the next bytes of the stream."""
        ...

    def __len__(self) -> int:
        """How many bytes are in it that belong to no complete frame yet."""
        ...

    def __iter__(self) -> Iterator[bytes]:
        """The frames that are complete, each once. Raises `FrameTooLarge` before it keeps bytes for a frame that is."""
        ...


class FrameBuffer:
    """Frames from one buffer."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def __iter__(self) -> Iterator[bytes]:
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
    """The reply that carries an error."""
    return Failed(number, error.reason, str(error), getattr(error, "entry", None))


def error_from(failed: Failed) -> AdsumError:
    """The error that a `Failed` reply carries."""
    fields: dict[str, Any] = {} if failed.entry is None else {"entry": failed.entry}
    return BY_REASON.get(failed.reason, AdsumError)(failed.message, **fields)
