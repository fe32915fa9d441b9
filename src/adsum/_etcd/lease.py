"""Keeping a lease alive.

etcd extends a lease when it gets a keep-alive. A client that waits patiently for the answer loses the lease while a
member is stopped, or while a follower holds the request for a leader that is gone (up to 7 s). So the patience here is
a small part of the time to live, and then the next member is asked, over a new stream.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType

from .calls import Caller
from .errors import LeaseNotFound, Unavailable
from .records import Renewal
from .streams import Stream, open_stream

_PATIENCE_PART, _LEAST_PATIENCE, _MOST_PATIENCE = 6, 0.3, 1.0


class LeaseKeeper:
    """Keeps a lease alive: ``async with client.keep_lease(lease, ttl) as keeper: async for renewal in keeper: ...``.

    Gives a `Renewal` for each answer. It goes on while no member answers, for it cannot know what became of the lease:
    the caller judges by the last renewal. `LeaseNotFound` when etcd says that the lease is gone; `Refused` where
    a role denies it.
    """

    def __init__(self, caller: Caller, lease: int, ttl: float, every: float | None) -> None:
        self.lease = lease
        self.patience = min(_MOST_PATIENCE, max(_LEAST_PATIENCE, ttl / _PATIENCE_PART))
        self._caller = caller
        self._every = ttl / 3 if every is None else every
        self._stream: Stream | None = None
        self._next = time.monotonic()
        self._doing = f"keep lease {lease:x} alive"

    def __aiter__(self) -> LeaseKeeper:
        return self

    async def __anext__(self) -> Renewal:
        """Wait until the next keep-alive is due, send it, and return its answer."""
        await asyncio.sleep(max(0.0, self._next - time.monotonic()))
        while True:
            try:
                renewal = await self._renew()
            except Unavailable:
                # The next member was chosen, or the choice is waiting: it keeps this loop from being busy.
                await self.close()
                continue
            self._next = time.monotonic() + self._every
            return renewal

    async def close(self) -> None:
        """End the stream. The lease goes on for its time to live."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    async def __aenter__(self) -> LeaseKeeper:
        return self

    async def __aexit__(self, _kind: object, _error: BaseException | None, _traceback: TracebackType | None) -> None:
        await self.close()

    async def _renew(self) -> Renewal:
        if self._stream is None:
            self._stream = await open_stream(
                self._caller, "LeaseKeepAlive", self._doing, self.patience, needs_leader=False
            )
        stream = self._stream
        # Taken before it is sent: the lease may be extended from any later instant on.
        sent = time.clock_gettime(time.CLOCK_BOOTTIME)
        await stream.send(self.patience, ID=self.lease)
        response = await stream.receive(self.patience)
        if response is None:
            raise stream.silent(self.patience)
        self._caller.check(response.header, 0)
        if response.TTL <= 0:
            raise LeaseNotFound(
                f"lease {self.lease:x} is gone: it was revoked or has expired; grant a new one",
                member=stream.member,
                status="OK",
                detail="TTL 0",
            )
        return Renewal(sent, response.TTL, stream.member)
