"""Requests that no caller waits for: the end of a registration that its process ends by itself, of a thread or task for
one, or of one that no caller holds."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from types import NoneType

from .. import _wire as wire
from .._os import threads
from .._store.local_members import LocalMembers
from ..errors import RegistryClosed, Stale, SystemBusy, VersionMismatch
from ..model import Entry
from .dial import START_SECONDS
from .pending_call import PendingCall
from .pipeline import Pipeline

# How long to wait before an unregistration that failed is sent again.
REPEAT_SECONDS = 0.1


class RepeatedRequest:
    """A request that is repeated until a registrar has answered it: no caller waits for it, and no other would repeat
    it. It does not keep the registry open."""

    def __init__(self, pipeline: Pipeline, request: wire.AnyRequest) -> None:
        self._pipeline = pipeline
        self._request = request

    def send(self) -> None:
        """Send the request. Waits for nothing."""
        call = PendingCall(self._request, _was_there, START_SECONDS)
        try:
            self._pipeline.submit_unattended(call)
        except RegistryClosed:
            self._ended()
        else:
            call.future.add_done_callback(self._answered)

    def _ended(self) -> None:
        """It is answered, or never will be."""

    def _answered(self, future: Future[bool]) -> None:
        if future.cancelled() or isinstance(future.exception(), (NoneType, Stale, RegistryClosed, VersionMismatch)):
            self._ended()
            return
        repeat = threading.Timer(REPEAT_SECONDS, self.send)
        repeat.daemon = True
        try:
            threads.start(repeat)
        except SystemBusy:
            # Then the pipeline's thread waits, in which this runs.
            repeat.run()


class MemberEnd(RepeatedRequest):
    """Unregisters one incarnation. Where the registry is closed there is nothing to do: the entry ended with the
    session."""

    def __init__(self, pipeline: Pipeline, local_members: LocalMembers, entry: Entry) -> None:
        super().__init__(pipeline, wire.Unregister(process_id=entry.process_id, if_incarnation=entry.incarnation))
        self._local_members = local_members
        self._incarnation = entry.incarnation

    def _ended(self) -> None:
        self._local_members.discard(self._incarnation)


def _was_there(done: wire.Done) -> bool:
    return done.changed
