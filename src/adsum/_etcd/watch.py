"""A watch that goes on: over members that stop, die or lose their leader, without a gap and without a repetition.

One stream at one member delivers the changes. When it breaks, or gives no sign of life, the next begins at the next
member, at the revision after the last one that was delivered whole. The caller sees one sequence of responses.

- etcd may send a large revision in several fragments, and several revisions in one message. A response has
  whole revisions only.
- A silent member is asked for its progress, and given up when it does not answer that either. Its answers count as
  progress only from the version on in which they are reliable (`versions.FAULTS`).
- Of a watch that begins after the present revision, etcd reports no progress since 3.5.22 (pull request 20229). So a
  stream begins at the last revision that was delivered, and its changes are dropped where they come again.
- A member may be behind the others: then a new watch waits, in etcd, for its first revision. A cluster that was
  restored from an older copy looks the same. So a watch that begins behind asks the majority which of the two it is.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import cast

from . import versions
from .calls import Caller, EtcdMethod, went_back
from .errors import Compacted, Refused, Unavailable
from .records import KeyChange, WatchResponse, Wire, as_text, change
from .streams import Stream, open_stream

# A member is asked for a sign of life after this silence, in seconds, and given up after as much again.
SILENCE = 0.6
_STATUS = EtcdMethod("Status", "ask for the version", needs_leader=False)
_NEWEST = EtcdMethod("Range", "ask for the revision", orders=True)


class EtcdWatch:
    """``async with client.watch(...) as watch: async for response in watch: ...``.

    `position` is the last revision that was delivered whole, `heard` the instant of the last message on CLOCK_BOOTTIME
    (0 before the first), `member` the member that is watched, `streams` how many streams it has opened.

    Errors that end it: `Compacted` (load anew), `WatchCanceled`, `AccessDenied`, `ClusterChanged`, `RevisionWentBack`.
    Where no member can be reached it goes on trying: look at `heard`.
    """

    def __init__(
        self, caller: Caller, key: bytes, range_end: bytes, start_revision: int, *, previous: bool, silence: float
    ) -> None:
        self.position = start_revision - 1
        self.heard = 0.0
        self.member = ""
        self.streams = 0
        self._caller = caller
        self._create: dict[str, object] = {
            "key": key,
            "range_end": range_end,
            "prev_kv": previous,
            "progress_notify": True,
            "fragment": True,
        }
        self._silence = silence
        self._stream: Stream | None = None
        self._reliable = False
        self._oldest = 0
        self._fragments: list[KeyChange] = []
        self._doing = f"watch {as_text(key)}"

    def __aiter__(self) -> EtcdWatch:
        return self

    async def __anext__(self) -> WatchResponse:
        """The next response. An empty one, about once a second, says that there was no change up to its revision."""
        while True:
            try:
                response = await self._next()
            except Unavailable:
                # The next member was chosen, or the choice is waiting: it keeps this loop from being busy.
                await self.close()
                continue
            if response is not None:
                self.position = max(self.position, response.revision)
                return response

    async def request_progress(self) -> None:
        """Ask for the present revision: an empty response answers when all changes up to it were delivered. A
        broken watch asks when it goes on."""
        if self._stream is not None:
            try:
                await self._stream.send(self._silence, progress_request={})
            except Unavailable:
                await self.close()

    async def close(self) -> None:
        """End the stream. Iterating again goes on from `position`."""
        stream, self._stream = self._stream, None
        self._fragments.clear()
        if stream is not None:
            await stream.close()

    async def __aenter__(self) -> EtcdWatch:
        return self

    async def __aexit__(self, _kind: object, _error: BaseException | None, _traceback: TracebackType | None) -> None:
        await self.close()

    async def _next(self) -> WatchResponse | None:
        stream = self._stream or await self._open()
        message = await self._message(stream)
        if message.canceled:
            await self._canceled(stream, message)
            return None
        self._caller.check(message.header, 0)
        if message.created:
            await self._check_start(message.header.revision)
            return None
        if message.events:
            self._fragments += map(change, message.events)
            if message.fragment:
                return None
            changes = tuple(one for one in self._fragments if one.item.mod_revision > self.position)
            self._fragments.clear()
            return WatchResponse(changes[-1].item.mod_revision, changes) if changes else None
        # What the member reports now may be ahead of fragments that are still to come.
        if self._reliable and not self._fragments:
            return WatchResponse(max(message.header.revision, self.position), ())
        return WatchResponse(max(0, self.position), ())

    async def _open(self) -> Stream:
        stream = await open_stream(self._caller, "Watch", self._doing, 2 * self._silence, needs_leader=True)
        self._stream, self.member = stream, stream.member
        self.streams += 1
        self._reliable = versions.is_reliable(await self._version(stream))
        start = max(self.position, self._oldest, 1) if self.position >= 0 else 0
        await stream.send(self._silence, create_request={**self._create, "start_revision": start})
        return stream

    async def _version(self, stream: Stream) -> str:
        try:
            message = await self._caller.call_at(stream.channel, _STATUS, self._silence)
        except Refused:
            # A role that allows less than usual. Without a version nothing is relied upon.
            return ""
        except Unavailable:
            raise stream.silent(self._silence) from None
        return cast(str, message.version)

    async def _message(self, stream: Stream) -> Wire:
        """The next message of the member. Asks a silent member for its progress."""
        message = await stream.receive(self._silence)
        if message is None:
            await stream.send(self._silence, progress_request={})
            message = await stream.receive(self._silence)
        if message is None:
            raise stream.silent(2 * self._silence)
        self.heard = time.clock_gettime(time.CLOCK_BOOTTIME)
        return message

    async def _check_start(self, revision: int) -> None:
        """Distinguish a member that is behind from a cluster that was restored. A watch "from now on" begins here."""
        if self.position < 0:
            self.position = revision
        elif revision < self.position:
            newest = await self._caller.call(_NEWEST, 1.0, {"key": self._create["key"], "count_only": True})
            if newest.header.revision < self.position:
                raise went_back(self.position, newest.header.revision)

    async def _canceled(self, stream: Stream, message: Wire) -> None:
        # The header of this message has revision 0.
        if 0 < message.compact_revision <= self.position + 1:
            # Only the revision that was to come again is gone.
            self._oldest = message.compact_revision
            await self.close()
        elif message.compact_revision:
            raise Compacted(
                f"etcd at {stream.member} has no history from revision {self.position + 1} on, only from "
                f"{message.compact_revision}; load anew and watch from there",
                member=stream.member,
                compact_revision=message.compact_revision,
            )
        else:
            raise stream.canceled(message.cancel_reason)
