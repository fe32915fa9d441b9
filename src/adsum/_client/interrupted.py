"""The undoing of a registration whose caller was interrupted while it waited: no caller holds what it registers."""

from __future__ import annotations

from .. import _wire as wire
from .._store.reader import Reader
from .member_end import MemberEnd
from .pipeline import Pipeline


class InterruptedRegistration:
    """Unregisters what a request has registered after revision `since`, if anything. Waits for nothing.

    The registrar may have decided the request, may be about to, or may never get it. So this sends another request; its
    answer means that the first one is decided. Then it reads the tables.
    """

    def __init__(self, request: wire.Register, since: int, pipeline: Pipeline, reader: Reader) -> None:
        self._request = request
        self._since = since
        self._pipeline = pipeline
        self._reader = reader

    def undo(self) -> None:
        self._pipeline.cancel(0, self._decided)

    def _decided(self, _done: wire.Done) -> None:
        for process_id, _fields in self._request.items:
            entry = self._reader.lookup(process_id._replace(node=process_id.node or self._reader.node or ""))
            if entry is not None and entry.incarnation > self._since and entry.owner == self._request.owner:
                MemberEnd(self._pipeline, self._reader.local_members, entry).send()
