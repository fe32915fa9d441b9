"""Setting gauges: words of shared memory, and no request to any process."""

from __future__ import annotations

from .._gauges import check_value, no_gauge
from .._member_row import GAUGE_WORDS, gauges_at, key_of
from .._store.member_rows import MemberRows
from ..errors import NotRegistered, RegistryFull, Stale
from ..model import Entry
from .writable_board import WritableBoard


class GaugeWriter:
    """Sets the gauges of any entry of one registry, as any process may change any entry."""

    def __init__(self, board: WritableBoard) -> None:
        self._board = board

    def set(self, entry: Entry, name: str, value: float) -> None:
        """Set a gauge of an entry. Errors: those of `Registry.set_gauge`."""
        if type(value) is not float or value != value:
            value = check_value(name, value)
        at = gauges_at(entry)
        for known in entry.metadata.gauges:
            if known == name:
                break
            at += GAUGE_WORDS
        else:
            raise no_gauge(entry, name)
        key, rows = key_of(entry), self._board.rows
        if rows.in_use[0] != rows.number or not rows.fits(at, key):
            rows = self._rows_of(entry, at, key)
        rows.write(at, key, value)

    def _rows_of(self, entry: Entry, at: int, key: int) -> MemberRows:
        """The rows, where there is no value of this entry in those that are mapped. Errors, unless the entry is the
        present holder of its id: then another program has written there."""
        rows = self._board.attach()
        if rows.fits(at, key):
            return rows
        present = self._board.reader.lookup(entry.process_id)
        if present is None:
            raise NotRegistered(f"{entry.process_id} is not registered any more (or its process has died)")
        if present.incarnation != entry.incarnation:
            raise Stale(
                f"{entry.process_id} is incarnation {present.incarnation} now, held by process {present.pid}: these "
                "gauges are those of an earlier one",
                entry=present,
            )
        if at >= rows.ready:
            raise RegistryFull(
                f"there was no room for gauges in the file system of {self._board.folder} when its registrar started; "
                "free space there, and then: adsum registrar --replace"
            )
        return rows
