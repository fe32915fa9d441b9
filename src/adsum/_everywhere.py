"""Names for the whole cluster, as a client asks for them: the registrar queues the request, and the bridge decides."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent import futures
from enum import Enum
from pathlib import Path

from . import _wire as wire
from ._client.bridge_status import trouble_in
from ._client.client import Client
from ._client.cluster import joined
from ._client.stand_by_call import StandByCall
from ._store.reader import Reader
from ._validation import MetadataFields, check_flag
from .errors import ClusterUnavailable, Timeout
from .model import Entry, Owner, ProcessId

# The time that a request for a name has where the call names none.
USUAL_SECONDS = 5.0
# How often to look for a token that is being renewed.
_LOOK_SECONDS = 0.001


class NameMode(Enum):
    """Whether a name is for the whole cluster, and whether a request for it waits until it is free."""

    no = "no"
    now = "now"
    waits = "waits"

    def request(
        self, process_id: ProcessId, owner: Owner, fields: MetadataFields, *, replaces: bool = False
    ) -> wire.StandBy | wire.StandByEverywhere:
        """The request for a name of this kind."""
        if self is NameMode.no:
            return wire.StandBy(process_id=process_id, owner=owner, fields=fields)
        waits = self is NameMode.waits
        return wire.StandByEverywhere(process_id=process_id, owner=owner, fields=fields, waits=waits, replaces=replaces)


def require_cluster(reader: Reader) -> None:
    """Where the registry is part of a cluster that its bridge has not heard yet, the request waits for it, as long as
    it may: program, registry and bridge have just started. Errors: `ClusterUnavailable` where no bridge hears from a
    cluster."""
    words = reader.progress
    if not words.hears() and (words.has_heard() or joined(reader.folder) is None):
        raise ClusterUnavailable(
            "a name for the whole cluster needs the cluster, and this registry does not hear from one: open it with "
            "cluster=, or see adsum doctor; without everywhere=True the name is one of this host"
        )


def is_wanted(everywhere: object) -> bool:
    """Whether a call is about the whole cluster. Errors: `TypeError`."""
    return check_flag("everywhere", everywhere)


def refuse_owner(owned_by: object) -> None:
    """A name for the whole cluster has no owner. Errors: `ValueError`."""
    if owned_by is not None:
        raise ValueError(
            "owned_by= and everywhere=True cannot be given together; register a second id with owned_by=, or "
            "unregister() the name when its owner ends"
        )


def name_timed_out(seconds: float, folder: Path) -> Timeout:
    """The error of a request for a name that had so many seconds; it has the trouble of the folder's bridge."""
    trouble = trouble_in(folder)
    return Timeout(
        f"the cluster has not answered within {seconds:g} s{': ' if trouble else ''}{trouble}; nothing is registered. "
        "Try again, or see adsum doctor"
    )


def renewed(reader: Reader, entry: Entry, timeout: float | None) -> Iterator[float]:
    """Wait until the name that was handed over to an entry has its new token, no longer than the caller wants: the
    seconds to wait each time. Nothing to wait for where the entry has none, or has ended."""
    if entry.fencing_token >= 0:
        return
    until = time.monotonic() + (USUAL_SECONDS if timeout is None else timeout)
    while True:
        present = reader.lookup(entry.process_id)
        if present is None or present.incarnation != entry.incarnation or present.fencing_token >= 0:
            return
        if (left := until - time.monotonic()) <= 0:
            return
        yield min(_LOOK_SECONDS, left)


def latest(reader: Reader, entry: Entry) -> Entry:
    """The entry as it is now; as it was where it has ended."""
    present = reader.lookup(entry.process_id)
    return entry if present is None or present.incarnation != entry.incarnation else present


def register_anew(client: Client, process_id: ProcessId, owner: Owner, fields: MetadataFields) -> wire.Done:
    """Register an entry whose registry is gone under its name for the whole cluster. Errors: those of the request;
    `Timeout`."""
    client.pipeline.hold_entries()
    request = NameMode.now.request(process_id, owner, fields)
    members = client.reader.local_members
    call = StandByCall(request, lambda done: done, USUAL_SECONDS, None, client.pipeline, members)
    client.pipeline.submit(call)
    futures.wait([call.future], USUAL_SECONDS)
    if not call.future.done() and call.future.cancel():
        raise name_timed_out(USUAL_SECONDS, client.folder)
    return call.future.result()
