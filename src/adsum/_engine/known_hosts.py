"""What the registrar remembers of other hosts of the cluster between batches: their rows, and whose each node is."""

from __future__ import annotations

from collections.abc import Iterable

from .._store.layout import Change, HostRow
from .._store.page_layout import HOSTS
from ..errors import RegistryFull


class KnownHosts:
    """The hosts of one registry, by name. `entries` counts their entries in the tables."""

    def __init__(self) -> None:
        self.rows: dict[str, HostRow] = {}
        self.entries = 0
        self._nodes: dict[str, str] = {}

    def take_up(self, rows: Iterable[HostRow], entries: int) -> None:
        """The hosts that an earlier registrar knew, with so many entries in all."""
        self.rows = {row.host: row for row in rows}
        self.entries = entries
        self._index()

    def of_node(self, node: str) -> str | None:
        """The host that a node belongs to; None where it belongs to no other host."""
        return self._nodes.get(node)

    def follow(self, hosts: Iterable[tuple[str, HostRow | None]], changes: Iterable[Change]) -> None:
        """A batch was committed."""
        for host, row in hosts:
            if row is None:
                self.rows.pop(host, None)
            else:
                self.rows[host] = row
            self._index()
        if self.rows or self.entries:
            self.entries += sum(_is_remote(change, after=True) - _is_remote(change, after=False) for change in changes)

    def _index(self) -> None:
        self._nodes = {node: row.host for row in self.rows.values() for node in row.nodes}


def free_number(taken: Iterable[int]) -> int:
    """A number for a new host. Errors: `RegistryFull`."""
    used = set(taken)
    for number in range(1, HOSTS):
        if number not in used:
            return number
    raise RegistryFull(f"a registry knows at most {HOSTS - 1} other hosts; make several clusters")


def _is_remote(change: Change, *, after: bool) -> bool:
    record = change.after if after else change.before
    return record is not None and record.entry.origin is not None
