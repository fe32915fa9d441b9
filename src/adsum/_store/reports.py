"""Reports: what a reader can say about a registry as a whole, and not about the members that match.

Each is of one snapshot. Where there is no registry a report is that of an empty one, or None.
"""

from __future__ import annotations

import operator
import time
from collections import Counter
from collections.abc import Callable, Iterable

from .._os.ports import ReaderLiveness
from ..errors import CorruptRegistry
from ..model import ClusterStats, Departure, Entry, Host, Owner, Reach, Stats
from . import audit, snapshot
from .census import Group, living
from .current_tables import CurrentTables
from .environment import Environment
from .layout import HostState, Standby, key_of
from .tables import bytes_used


class Reports:
    """The reports of one reader, made of what it has. `alive_among` gives which of some owners are alive, or are hosts
    that can be reached."""

    def __init__(
        self,
        tables: CurrentTables,
        liveness: ReaderLiveness,
        alive_among: Callable[[Iterable[Owner]], set[Owner]],
    ) -> None:
        self._tables = tables
        self._liveness = liveness
        self._alive_among = alive_among

    def census(self) -> Counter[Group]:
        """How many living entries there are of each namespace, type and health status."""
        return self._tables.read(lambda txn, env: living(txn, env, self._alive_among), Counter())

    def remote_keys(self) -> dict[str, set[bytes]]:
        """The keys of the stored entries of each other host, for the bridge; empty sets for hosts without one."""

        def read(txn: snapshot.Txn, environment: Environment) -> dict[str, set[bytes]]:
            return {
                row.host: {key_of(entry.process_id) for entry in snapshot.entries_of(txn, environment, row.owner)}
                for row in snapshot.hosts(txn, environment)
            }

        return self._tables.read(read, {})

    def name_requests(self) -> list[Standby]:
        """The standbys for names of the whole cluster, in the order of their positions; for the bridge."""

        def read(txn: snapshot.Txn, environment: Environment) -> list[Standby]:
            return [one for one in snapshot.standbys(txn, environment) if one.everywhere]

        nothing: list[Standby] = []
        return sorted(self._tables.read(read, nothing), key=operator.attrgetter("position"))

    def departures(self, limit: int, *, here: bool = False) -> list[Departure]:
        """At most `limit` departures, the newest first; with `here`, of members of this registry alone."""
        return self._tables.read(lambda txn, env: snapshot.departures(txn, env, limit, here=here), [])

    def departure_of(self, entry: Entry, revision: int) -> Departure | None:
        """How an entry ended that was removed at this revision; None where that is not known."""
        return self._tables.read(lambda txn, env: snapshot.departure_of(txn, env, entry, revision), None)

    def audit(self) -> list[str]:
        """Every violation of I1 to I5 in one snapshot."""
        return self._tables.read(audit.violations, [])

    def stats(self) -> Stats | None:
        """The figures of the registry; None where there is none."""

        def read(txn: snapshot.Txn, environment: Environment) -> Stats:
            mapped, limits = self._tables.page, self._tables.limits
            if mapped is None or limits is None:
                raise CorruptRegistry("the registry was closed while it was read")
            counted = snapshot.registrar_stats(txn, environment)
            # 0 where the registrar has just left.
            started, registrar = mapped.started_ns, mapped.registrar
            serves = registrar.pid != 0 and self._liveness.is_alive(registrar)
            return Stats(
                entries=txn.stat(environment.ids)["entries"],
                owners=sum(1 for owner in snapshot.owners(txn, environment) if owner.pid),
                revision=snapshot.revision(txn, environment),
                bytes_used=bytes_used(txn, environment),
                bytes_limit=limits.max_memory_bytes,
                registrar_pid=registrar.pid if serves else None,
                uptime=(time.monotonic_ns() - started) / 1e9 if serves and started else 0.0,
                restarts=mapped.restarts,
                pending=counted.pending,
                cleanup_latency=counted.cleanup_latency,
                outcomes=counted.outcomes,
                unwatched_by_kernel=counted.unwatched_by_kernel,
                cluster=self._cluster_stats(txn, environment),
            )

        return self._tables.read(read, None)

    def _cluster_stats(self, txn: snapshot.Txn, environment: Environment) -> ClusterStats | None:
        rows, words = snapshot.hosts(txn, environment), self._tables.hosts
        if not rows and not words.ttl_ns:
            return None
        here = words.here_among([row.owner for row in rows])
        return ClusterStats(
            connected=words.hears(),
            revision=words.applied,
            heard=words.heard_seconds(),
            published=words.published,
            lag=max(0, snapshot.revision(txn, environment) - words.published),
            hosts=len(rows),
            unreachable=len(rows) - len(here),
            entries=sum(snapshot.count_of(txn, environment, row.owner) for row in rows),
        )

    def hosts(self) -> list[Host]:
        """The other hosts of the cluster, sorted by name."""

        def read(txn: snapshot.Txn, environment: Environment) -> list[Host]:
            return [
                Host(
                    row.host,
                    Reach.remote if self._tables.hosts.is_here(row.owner) else Reach.unreachable,
                    snapshot.count_of(txn, environment, row.owner),
                    frozenset(row.nodes),
                    row.fence,
                    row.state == HostState.refused,
                )
                for row in snapshot.hosts(txn, environment)
            ]

        return self._tables.read(read, [])
