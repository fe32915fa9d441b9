"""One stream to one etcd member: requests and responses, each with its own patience.

A member that is stopped, or cut off, leaves a stream open and silent. So nothing here waits without a bound. A failure
is reported to the choice of members, once, and raised as an error of this package.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from types import TracebackType
from typing import TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from .calls import Caller
from .errors import (
    DENIED,
    GRPC_ERRORS,
    TOKEN_EXPIRED,
    TOKEN_OLD,
    EtcdError,
    NotAuthenticated,
    Unavailable,
    WatchCanceled,
    by_status,
    raise_own_cancellation,
    translate,
    unavailable,
)
from .members import MemberChannel
from .records import Wire
from .schema import MESSAGES, METHODS

T = TypeVar("T")


class Stream:
    """An open stream: ``async with await open_stream(...) as stream``."""

    def __init__(
        self,
        caller: Caller,
        channel: MemberChannel,
        call: grpc.aio.StreamStreamCall[Message, Message],
        method: str,
        doing: str,
        old_token: bool,
    ) -> None:
        self.member = channel.member
        self.channel = channel.__enter__()
        self._caller = caller
        self._call = call
        self._request = MESSAGES[METHODS[method][1]]
        self._doing = doing
        self._old_token = old_token
        self._reading: asyncio.Task[Wire] | None = None
        self._open = True

    async def send(self, patience: float, **fields: object) -> None:
        """Send a request. A member that does not take it within `patience` seconds has failed."""
        try:
            # Not by `wait_for`, which before Python 3.12 drops a cancellation that comes with the result.
            async with asyncio.timeout(patience):
                await self._guarded(self._call.write(self._request(**fields)))
        except TimeoutError:
            raise self._failed(unavailable(self._doing, self.member, "it takes no requests")) from None

    async def receive(self, patience: float) -> Wire | None:
        """The next response, None if there is none within `patience` seconds. It is not lost then."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._guarded(self._read()))
        done, _ = await asyncio.wait((self._reading,), timeout=patience)
        if not done:
            return None
        reading, self._reading = self._reading, None
        response = reading.result()
        self._caller.members.succeeded(self.channel)
        return response

    def silent(self, seconds: float) -> Unavailable:
        """Note that the member has failed because it gave no sign of life, and return the error."""
        failure = unavailable(self._doing, self.member, f"no sign of life for {seconds:.1f} s")
        self._failed(failure)
        return failure

    def canceled(self, reason: str) -> EtcdError:
        """The error for a watch that the member canceled, by the reason that it gives."""
        if DENIED in reason and self._old_token:
            # etcd 3.5.1 says this also where a token has expired. A fresh one shows which it is.
            reason = TOKEN_EXPIRED
        for detail in (DENIED, TOKEN_EXPIRED, *TOKEN_OLD):
            if detail in reason:
                return self._failed(by_status(grpc.StatusCode.UNKNOWN, detail, self._doing, self.member, writes=False))
        return WatchCanceled(
            f"etcd at {self.member} ended the request to {self._doing}: {reason or 'no reason given'}; watch again",
            detail=reason,
        )

    async def close(self) -> None:
        """End it. May be called again."""
        if not self._open:
            return
        self._open = False
        self._call.cancel()
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            await asyncio.wait((reading,))
            # Whatever a read was still to report concerns a stream that is given up.
            if not reading.cancelled():
                reading.exception()
        self.channel.__exit__(None, None, None)

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, _kind: object, _error: BaseException | None, _traceback: TracebackType | None) -> None:
        await self.close()

    async def _read(self) -> Wire:
        response = await self._call.read()
        if response is not grpc.aio.EOF:
            return response
        status, detail = await self._call.code(), await self._call.details()
        raise by_status(status, detail or "it ended the stream", self._doing, self.member, writes=False)

    async def _guarded(self, awaitable: Awaitable[T]) -> T:
        try:
            return await awaitable
        except GRPC_ERRORS as error:
            raise self._failed(translate(error, self._doing, self.member, writes=False)) from error
        except asyncio.CancelledError as error:
            raise_own_cancellation(error)
            raise self._failed(translate(error, self._doing, self.member, writes=False)) from error
        except EtcdError as error:
            raise self._failed(error) from None

    def _failed(self, failure: EtcdError) -> EtcdError:
        if isinstance(failure, NotAuthenticated):
            if self._caller.forget_token():
                return unavailable(self._doing, self.member, "the user's token has expired")
        elif isinstance(failure, Unavailable):
            self._caller.members.failed(self.channel, failure.detail)
        return failure


async def open_stream(caller: Caller, method: str, doing: str, patience: float, *, needs_leader: bool) -> Stream:
    """Open a stream at the chosen member, or at the next one that is connected within `patience` seconds."""
    until = time.monotonic() + patience
    old_token = caller.has_token
    metadata = await caller.metadata(until, needs_leader)
    channel = await caller.members.ready(doing, until)
    with channel:
        call = channel.stream(method)(metadata=metadata)
        return Stream(caller, channel, call, method, doing, old_token)
