"""Calls with one request and one response: deadline, choice of the member, repetition where it is safe, and checks.

A call has one deadline. Within it, what was for sure not carried out is tried again at the next member: nothing else
may be, since a repeated write could overtake a later one (spec/README.md). A read is safe to repeat. So a read leaves
half of its time to the next member; a write leaves all of it to the one that it was sent to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import cast

import grpc
import msgspec
from google.protobuf.message import Message

from .address import ClusterAddress
from .errors import (
    GRPC_ERRORS,
    ClusterChanged,
    EtcdError,
    NotAuthenticated,
    OutcomeUnknown,
    RevisionWentBack,
    Unavailable,
    raise_own_cancellation,
    translate,
    unavailable,
)
from .members import EtcdMembers, MemberChannel
from .records import Wire
from .schema import MESSAGES, METHODS

# A member that keeps a call waiting for less may be well, and the caller in a hurry.
_SICK_AFTER = 0.4
_LEAST_ATTEMPT = 0.2
Metadata = Sequence[tuple[str, str]]


class EtcdMethod(msgspec.Struct, frozen=True):
    """How a method of etcd is called. `doing` says for errors what it is to do. `needs_leader` makes a member refuse at
    once that knows no leader. `orders`: the answer's revision is that of the whole cluster, no member's own."""

    method: str
    doing: str
    writes: bool = False
    needs_leader: bool = True
    orders: bool = False


class Caller:
    """Makes calls to a cluster, and opens its streams. `revision` is the highest that an answer had."""

    def __init__(self, address: ClusterAddress, first: int, password: str) -> None:
        self.members = EtcdMembers(address, first)
        self.cluster_id = 0
        self.revision = 0
        self._user = address.user
        self._password = password
        self._token: str | None = None

    async def call(self, call: EtcdMethod, timeout: float, fields: dict[str, object]) -> Wire:
        """Make a call at the chosen member, or at the next ones, and return the response."""
        until = time.monotonic() + timeout
        request = MESSAGES[METHODS[call.method][1]](**fields)
        before = self.revision
        refused = False
        while True:
            channel = await self.members.ready(call.doing, until)
            try:
                response = await self._attempt(channel, call, until, request)
            except NotAuthenticated:
                if self._user is None or refused:
                    raise
                refused, self._token = True, None
                continue
            except Unavailable:
                if time.monotonic() >= until:
                    raise
                continue
            self.check(response.header, before if call.orders else 0)
            return response

    async def call_at(self, channel: MemberChannel, call: EtcdMethod, timeout: float) -> Wire:
        """Make a call with an empty request over this channel, whichever member is chosen."""
        until = time.monotonic() + timeout
        if not await channel.connected(until):
            raise unavailable(call.doing, channel.member, await channel.reason())
        return await self._attempt(channel, call, until, MESSAGES[METHODS[call.method][1]]())

    def check(self, header: Wire, at_least: int) -> None:
        """Check that it is the cluster that answered before, and that its revision is at least this one."""
        if self.cluster_id not in (0, header.cluster_id):
            raise ClusterChanged(
                f"etcd at {self.members.member} belongs to cluster {header.cluster_id:x}, not {self.cluster_id:x} as "
                "before; check that the address names members of one cluster",
                known=self.cluster_id,
                found=header.cluster_id,
            )
        self.cluster_id = header.cluster_id
        if header.revision < at_least:
            raise went_back(at_least, header.revision)
        self.revision = max(self.revision, header.revision)

    def forget_cluster(self) -> None:
        """Take the next answer for that of a cluster not seen before."""
        self.cluster_id = self.revision = 0
        self._token = None

    async def metadata(self, until: float, needs_leader: bool) -> Metadata:
        """What is sent with a call: that a leader is needed, and the token of the user."""
        leader = [("hasleader", "true")] if needs_leader else []
        if self._user is None:
            return leader
        if self._token is None:
            self._token = await self._authenticate(self._user, until)
        return [*leader, ("token", self._token)]

    @property
    def has_token(self) -> bool:
        """Whether a user's token is at hand, which may have expired."""
        return self._token is not None

    def forget_token(self) -> bool:
        """Have the next call or stream authenticate again. Whether there is a user to authenticate."""
        self._token = None
        return self._user is not None

    async def _authenticate(self, user: str, until: float) -> str:
        doing = f"authenticate as {user!r}"
        request = MESSAGES["AuthenticateRequest"](name=user, password=self._password)
        channel = await self.members.ready(doing, until)
        response = await self._send(channel, EtcdMethod("Authenticate", doing), until, request, [])
        return cast(str, response.token)

    async def _attempt(self, channel: MemberChannel, call: EtcdMethod, until: float, request: Message) -> Wire:
        metadata = await self.metadata(until, call.needs_leader)
        left = until - time.monotonic()
        if not call.writes and len(self.members.address.members) > 1:
            left = max(left / 2, min(left, _LEAST_ATTEMPT))
        return await self._send(channel, call, time.monotonic() + left, request, metadata)

    async def _send(
        self, channel: MemberChannel, call: EtcdMethod, until: float, request: Message, metadata: Metadata
    ) -> Wire:
        began = time.monotonic()
        with channel:
            try:
                response = await channel.unary(call.method)(request, timeout=until - began, metadata=metadata)
            except GRPC_ERRORS as error:
                failure = translate(error, call.doing, channel.member, writes=call.writes)
                self._judge(channel, failure, time.monotonic() - began)
                raise failure from error
            except asyncio.CancelledError as error:
                raise_own_cancellation(error)
                failure = translate(error, call.doing, channel.member, writes=call.writes)
                raise failure from error
        self.members.succeeded(channel)
        return response

    def _judge(self, channel: MemberChannel, failure: EtcdError, lasted: float) -> None:
        """Choose another member after a failure that lies with this one."""
        if not isinstance(failure, Unavailable | OutcomeUnknown):
            self.members.succeeded(channel)
        elif failure.status != grpc.StatusCode.DEADLINE_EXCEEDED.name or lasted >= _SICK_AFTER:
            self.members.failed(channel, failure.detail)


def went_back(known: int, found: int) -> RevisionWentBack:
    return RevisionWentBack(
        f"the cluster is at revision {found}, but {known} was seen before: it was restored from an older copy, "
        "or started empty; what was read from it must be read again",
        known=known,
        found=found,
    )
