"""Waiting for the cluster: until a change of this registry has reached it, and until its present has reached here.

The bridge shows in shared memory how far it is, so these look there until it is far enough.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NoReturn

from ._client import cluster
from ._client.bridge_status import status_in
from ._client.connection_pool import seconds_or
from ._everywhere import USUAL_SECONDS
from ._foreign import reraise_foreign
from ._reads import RegistryReads
from ._store.reader import Reader
from .errors import ClusterUnavailable, Timeout
from .model import Entry

# How often to look: the first times, and later.
_FIRST_SECONDS, _LATER_SECONDS = 0.0005, 0.01


class ProgressWait:
    """One of the two waits: iterate it, and wait the seconds that it gives each time. `revision` is what has to be
    reached. Errors: `Timeout`; `ClusterUnavailable`."""

    def __init__(
        self, reader: Reader, what: str, revision: int, seconds: float, *, applied: bool, began: float | None = None
    ) -> None:
        self._reader = reader
        self._what = what
        self._revision = revision
        self._applied = applied
        self._began = time.monotonic() if began is None else began
        self._seconds = seconds

    def __iter__(self) -> Iterator[float]:
        while not self._is_reached():
            passed = time.monotonic() - self._began
            if passed >= self._seconds:
                self._give_up()
            yield min(_FIRST_SECONDS if passed < 10 * _FIRST_SECONDS else _LATER_SECONDS, self._seconds - passed)

    def _is_reached(self) -> bool:
        words = self._reader.progress
        return (words.applied if self._applied else words.published) >= self._revision

    def _give_up(self) -> NoReturn:
        if not self._reader.progress.hears():
            raise ClusterUnavailable(
                f"{self._what} within {self._seconds:g} s: the bridge of this host has not heard from the cluster; see "
                "adsum doctor"
            )
        raise Timeout(f"{self._what} within {self._seconds:g} s; give a longer timeout=, or see adsum hosts")


class CatchUp:
    """The wait for the cluster's present: the address to ask, and the time that the question and the wait have
    together. Errors: `ValueError` for a time that cannot be."""

    def __init__(self, reads: RegistryReads, timeout: float | None) -> None:
        self.seconds = seconds_or(timeout, USUAL_SECONDS)
        self.address = address_of(reads)
        self._reader = reads._reader
        self._began = time.monotonic()

    def unanswered(self, error: Exception) -> Timeout | None:
        """What to say where the question got no answer within the time, and the bridge hears from the cluster."""
        if time.monotonic() - self._began < self.seconds or not self._reader.progress.hears():
            return None
        return Timeout(f"etcd has not answered within {self.seconds:g} s ({error}); give a longer timeout=")

    def until(self, revision: int) -> ProgressWait:
        """Wait until this registry has what the cluster had at a revision of etcd."""
        what = "the cluster's present has not arrived here"
        return ProgressWait(self._reader, what, revision, self.seconds, applied=True, began=self._began)


def published(reader: Reader, entry: Entry, timeout: float | None) -> Iterator[float]:
    """Wait until the cluster has every change of this registry up to that of an entry. Errors: also
    `ClusterUnavailable` where the bridge has left out the entry."""
    seconds = seconds_or(timeout, USUAL_SECONDS)
    yield from ProgressWait(reader, "the change was not published", entry.revision, seconds, applied=False)
    status = status_in(reader.folder)
    if status is not None and entry.process_id.node in status.refused_nodes:
        raise ClusterUnavailable(
            f"{entry.process_id} stays on this host: its node belongs to another host of the cluster; give this host "
            "another one (node=, ADSUM_NODE)"
        )
    if status is not None and str(entry.process_id) in status.too_large:
        raise ClusterUnavailable(
            f"{entry.process_id} stays on this host: it is too large for etcd (--max-request-bytes); give it less "
            "metadata"
        )


def address_of(reads: RegistryReads) -> str:
    """The cluster that the registry is part of. Errors: `ClusterUnavailable` where it is part of none."""
    joined = cluster.joined(reads.folder)
    if joined is None:
        raise ClusterUnavailable(
            "this registry is part of no cluster; open it with cluster=, or set ADSUM_CLUSTER, or run adsum bridge"
        )
    cluster.require_extra()
    return joined.address


def catch_up(reads: RegistryReads, timeout: float | None) -> int:
    """Wait until this registry has all that the cluster has now. Gives etcd's revision."""
    wait = CatchUp(reads, timeout)
    from ._etcd.asking import in_a_loop, newest_revision

    try:
        revision = in_a_loop(lambda: newest_revision(wait.address, wait.seconds))
    except ClusterUnavailable as error:
        reraise_foreign(error)
        if (unanswered := wait.unanswered(error)) is None:
            raise
        raise unanswered from error
    for pause in wait.until(revision):
        time.sleep(pause)
    return revision
