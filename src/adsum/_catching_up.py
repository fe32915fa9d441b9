"""Waiting for the cluster: until a change of this registry has reached it, and until its present has reached here.

The bridge shows in shared memory how far it is, so these look there until it is far enough.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from ._client import cluster
from ._client.bridge_status import status_in
from ._everywhere import USUAL_SECONDS
from ._reads import RegistryReads
from ._store.reader import Reader
from .errors import ClusterUnavailable, Timeout
from .model import Entry

# How often to look: the first times, and later.
_FIRST_SECONDS, _LATER_SECONDS = 0.0005, 0.01


class Progress:
    """One of the two waits: iterate it, and wait the seconds that it gives each time. `revision` is what has to be
    reached. Errors: `Timeout`; `ClusterUnavailable`."""

    def __init__(self, reader: Reader, what: str, revision: int, timeout: float | None, *, applied: bool) -> None:
        self._reader = reader
        self._what = what
        self._revision = revision
        self._applied = applied
        self._began = time.monotonic()
        self._seconds = USUAL_SECONDS if timeout is None else timeout

    def __iter__(self) -> Iterator[float]:
        while not self._is_reached():
            passed = time.monotonic() - self._began
            if passed >= self._seconds:
                self._give_up()
            yield min(_FIRST_SECONDS if passed < 10 * _FIRST_SECONDS else _LATER_SECONDS, self._seconds - passed)

    def _is_reached(self) -> bool:
        words = self._reader.progress
        return (words.applied if self._applied else words.published) >= self._revision

    def _give_up(self) -> None:
        if not self._reader.progress.hears():
            raise ClusterUnavailable(
                f"{self._what} within {self._seconds:g} s: the bridge of this host has not heard from the cluster; see "
                "adsum doctor"
            )
        raise Timeout(f"{self._what} within {self._seconds:g} s; give a longer timeout=, or see adsum hosts")


def published(reader: Reader, entry: Entry, timeout: float | None) -> Iterator[float]:
    """Wait until the cluster has every change of this registry up to that of an entry. Errors: also
    `ClusterUnavailable` where the bridge has left out the entry."""
    yield from Progress(reader, "the change was not published", entry.revision, timeout, applied=False)
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


def caught_up(reads: RegistryReads, revision: int, timeout: float | None) -> Progress:
    """Wait until this registry has what the cluster had at a revision of etcd."""
    return Progress(reads._reader, "the cluster's present has not arrived here", revision, timeout, applied=True)


def address_of(reads: RegistryReads) -> str:
    """The cluster that the registry is part of. Errors: `ClusterUnavailable` where it is part of none."""
    joined = cluster.joined(reads.folder)
    if joined is None:
        raise ClusterUnavailable(
            "this registry is part of no cluster; open it with cluster=, or set ADSUM_CLUSTER, or run adsum bridge"
        )
    cluster.require_extra()
    return joined.address


class ClusterCalls(RegistryReads):
    """The calls of a `Registry` about its cluster."""

    def catch_up(self, timeout: float | None = None) -> int:
        """Wait until this registry has everything that the cluster has at this moment, and return etcd's revision.

        It asks a majority of etcd once, and then waits for that revision here. So after it, reads find every change
        that any host had published before the call (it is linearizable). `timeout` is in seconds, 5 by default.

        Errors: `ClusterUnavailable` where the registry is part of no cluster, or etcd cannot be reached; `Timeout`.

        >>> registry.catch_up()
        Traceback (most recent call last):
        adsum.errors.ClusterUnavailable: this registry is part of no cluster; ...
        """
        from ._etcd.asking import in_a_loop, newest_revision

        address, seconds = address_of(self), USUAL_SECONDS if timeout is None else timeout
        revision = in_a_loop(lambda: newest_revision(address, seconds))
        for pause in caught_up(self, revision, timeout):
            time.sleep(pause)
        return revision
