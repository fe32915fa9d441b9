"""Which etcd member is asked, over which channel, and when to ask the next.

gRPC can balance between addresses, but its `pick_first` keeps to a server that is connected and answers nothing: one
that is stopped, or cut off behind a firewall that drops. So each `MemberChannel` leads to one member, and this module
chooses. All calls use the present channel. A caller that finds it sick says so with `failed`, and the next member of
the list is tried, with the files of TLS as they are then. When all have failed in a row, the choice waits, up to a
second, before it goes on: callers that repeat at once cost no processor time.

A channel that is no longer chosen stays open while calls or streams use it, so a watch that hears its member is not
ended by a call that timed out for another reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from pathlib import Path
from types import TracebackType

import grpc
from google.protobuf.message import Message

from ..errors import InvalidClusterAddress
from .address import ClusterAddress, EtcdMember, TlsFiles
from .errors import Unavailable, unavailable
from .schema import MESSAGES, METHODS, path

# etcd closes connections of clients that ping more often than every 5 s (`too_many_pings`), and gRPC would then double
# its interval. Without `ping_timeout_ms` a lost ping is noticed after 60 s, whatever `keepalive_timeout_ms` says.
# Seen with grpcio 1.85 and etcd 3.5.30.
_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 6000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.ping_timeout_ms", 2000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A write is repeated by those who know whether it may be, never by gRPC.
    ("grpc.enable_retries", 0),
    # Channels of one process would share connections otherwise, a sick one too.
    ("grpc.use_local_subchannel_pool", 1),
)
# How long a connection may take, in the first round and in later ones: a slow network needs more than a near one.
CONNECT_PATIENCE = (0.5, 1.0, 2.0, 4.0, 8.0)
_REASON_SECONDS = 0.2
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
# Calls of a channel that is closed may finish within this time.
_GRACE = 0.0
# How long a channel that is closed waits for the end of its wait for a connection.
_GIVE_UP_SECONDS = 1.0


class MemberChannel:
    """A gRPC channel to one etcd member. Its users hold it open: ``with channel: ...``."""

    def __init__(self, member: EtcdMember, credentials: grpc.ChannelCredentials | None) -> None:
        self.member = str(member)
        self.began = time.monotonic()
        self._users = 0
        self._retired = False
        self._closing: asyncio.Task[None] | None = None
        self._changing: asyncio.Task[None] | None = None
        self._unary: dict[str, grpc.aio.UnaryUnaryMultiCallable[Message, Message]] = {}
        options = list(_OPTIONS)
        if credentials is None:
            self.grpc = grpc.aio.insecure_channel(member.target, options=options)
        else:
            self.grpc = grpc.aio.secure_channel(member.target, credentials, options=options)

    def unary(self, method: str) -> grpc.aio.UnaryUnaryMultiCallable[Message, Message]:
        """The function that calls a method of etcd with one request and one response."""
        found = self._unary.get(method)
        if found is None:
            _, request, response = METHODS[method]
            found = self._unary[method] = self.grpc.unary_unary(
                path(method), MESSAGES[request].SerializeToString, MESSAGES[response].FromString
            )
        return found

    def stream(self, method: str) -> grpc.aio.StreamStreamMultiCallable[Message, Message]:
        """The function that opens a stream of requests and responses."""
        _, request, response = METHODS[method]
        return self.grpc.stream_stream(path(method), MESSAGES[request].SerializeToString, MESSAGES[response].FromString)

    async def connected(self, until: float) -> bool:
        """Whether it is connected; begins to connect, and waits for it up to the instant `until`."""
        while True:
            state = self.grpc.get_state(try_to_connect=True)
            if state is grpc.ChannelConnectivity.READY:
                return True
            if state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN):
                return False
            changed = self._change(state)
            await asyncio.wait([changed], timeout=max(0.0, until - time.monotonic()))
            if not changed.done():
                return False
            changed.result()

    def _change(self, state: grpc.ChannelConnectivity) -> asyncio.Task[None]:
        """The wait for another state than this. gRPC cannot give up a wait: one that is cancelled is reported all the
        same, and if its loop is closed by then, as a traceback on stderr. So it goes on, and `close` waits for it."""
        if self._changing is None or self._changing.done():
            self._changing = asyncio.ensure_future(self.grpc.wait_for_state_change(state))
        return self._changing

    @property
    def is_closed(self) -> bool:
        return self._closing is not None and self._closing.done()

    async def reason(self) -> str:
        """Why it is not connected, in gRPC's words, which only a call has."""
        if self.grpc.get_state() is not grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            return "no connection within the time"
        try:
            await self.unary("Status")(MESSAGES["StatusRequest"](), timeout=_REASON_SECONDS)
        except grpc.aio.AioRpcError as error:
            return error.details() or "no connection"
        return "no connection at first"

    def retire(self) -> None:
        """Close it as soon as its last user leaves it."""
        self._retired = True
        self._close_unused()

    async def close(self) -> None:
        """Close it now; calls that use it end with an error."""
        self._retired = True
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await self._closing

    def __enter__(self) -> MemberChannel:
        self._users += 1
        return self

    def __exit__(self, _kind: object, _error: object, _traceback: TracebackType | None) -> None:
        self._users -= 1
        self._close_unused()

    def _close_unused(self) -> None:
        if self._retired and not self._users and self._closing is None:
            self._closing = asyncio.ensure_future(self._close())

    async def _close(self) -> None:
        await self.grpc.close(_GRACE)
        if self._changing is not None:
            # It ends with the channel.
            await asyncio.wait([self._changing], timeout=_GIVE_UP_SECONDS)
            if self._changing.done() and not self._changing.cancelled():
                self._changing.exception()


class EtcdMembers:
    """The choice among the members of one address. `chosen` is the number of the present one in the address."""

    def __init__(self, address: ClusterAddress, first: int = 0) -> None:
        self.address = address
        self.chosen = first % len(address.members)
        self._credentials = None if address.tls is None else _credentials(address, address.tls)
        self._channel: MemberChannel | None = None
        self._retired: list[MemberChannel] = []
        self._failures = 0
        self._closed = False
        self._not_before = 0.0
        self._last = self.member, "no connection was tried yet"

    @property
    def member(self) -> str:
        """The member that is asked at present."""
        return str(self.address.members[self.chosen])

    def open(self, member: EtcdMember) -> MemberChannel:
        """A channel to a member, apart from the choice."""
        self._read_files_again()
        return MemberChannel(member, self._credentials)

    def _read_files_again(self) -> None:
        """Certificates may have been renewed since. Files that cannot be read, in the middle of that, change nothing:
        the next channel reads them."""
        if self.address.tls is not None:
            with contextlib.suppress(InvalidClusterAddress):
                self._credentials = _credentials(self.address, self.address.tls)

    async def ready(self, doing: str, until: float) -> MemberChannel:
        """A connected channel. Tries the members in turn up to the instant `until`, then raises `Unavailable`."""
        while True:
            await self._pause(doing, until)
            if self._closed:
                raise self.unavailable(doing, "this client was closed")
            if self._channel is None:
                self._channel = self.open(self.address.members[self.chosen])
            channel = self._channel
            rounds = self._failures // len(self.address.members)
            patient = channel.began + CONNECT_PATIENCE[min(rounds, len(CONNECT_PATIENCE) - 1)]
            with channel:
                if await channel.connected(min(until, max(patient, time.monotonic()))):
                    return channel
                now = time.monotonic()
                if now >= until and now < patient:
                    # The caller's time is over, not that of the member: the next call goes on waiting for it.
                    raise self.unavailable(doing, "no connection within the time")
                self.failed(channel, await channel.reason())

    def failed(self, channel: MemberChannel, why: str) -> None:
        """The member of this channel does not serve: choose the next, unless that was done already."""
        if channel is not self._channel:
            return
        self._last = channel.member, why
        self._channel = None
        self._retired = [one for one in self._retired if not one.is_closed] + [channel]
        channel.retire()
        self._failures += 1
        members = len(self.address.members)
        self.chosen = (self.chosen + 1) % members
        if self._failures % members == 0:
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (self._failures // members - 1))
            self._not_before = time.monotonic() + pause * random.uniform(0.8, 1.2)

    def succeeded(self, channel: MemberChannel) -> None:
        """The member of this channel has answered."""
        if channel is self._channel:
            self._failures = 0

    def unavailable(self, doing: str, why: str) -> Unavailable:
        return unavailable(doing, self.member, why)

    async def close(self) -> None:
        """Close all channels; calls that use them end with an error."""
        self._closed = True
        channels = [*self._retired, *([self._channel] if self._channel is not None else [])]
        self._channel, self._retired = None, []
        for channel in channels:
            await channel.close()

    async def _pause(self, doing: str, until: float) -> None:
        """Wait while all members failed a moment ago."""
        while (wait := self._not_before - time.monotonic()) > 0:
            left = until - time.monotonic()
            await asyncio.sleep(min(wait, max(0.0, left)))
            if left <= wait:
                member, why = self._last
                raise unavailable(doing, member, why)


def _credentials(address: ClusterAddress, files: TlsFiles) -> grpc.ChannelCredentials:
    parts = []
    for file in (files.authority, files.key, files.certificate):
        try:
            parts.append(None if file is None else Path(file).read_bytes())
        except OSError as error:
            raise InvalidClusterAddress(
                f"{str(address)!r}: the file {file} cannot be read: {error.strerror}; name a PEM file that this user "
                "may read",
                address=str(address),
            ) from error
    return grpc.ssl_channel_credentials(*parts)
