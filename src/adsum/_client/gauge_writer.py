"""Setting gauges: two words of shared memory, and no request to any process."""

from __future__ import annotations

from pathlib import Path

from .._gauges import ROW_BITS, check_value, first_word_of, no_gauge
from .._store import board as boards
from .._store.board import NO_BOARD
from .._store.gauge_rows import GaugeRows
from .._store.reader import Reader
from ..errors import NotRegistered, RegistrarUnavailable, RegistryClosed, RegistryFull, Stale
from ..model import Entry


class GaugeWriter:
    """Sets the gauges of any entry of one registry, as any process may change any entry. Keeps its board mapped."""

    def __init__(self, folder: Path, reader: Reader) -> None:
        self._folder = folder
        self._reader = reader
        self._board = NO_BOARD
        self._closed = False

    def set(self, entry: Entry, name: str, value: float) -> None:
        """Set a gauge of an entry. Errors: those of `Registry.set_gauge`."""
        if type(value) is not float or value != value:
            value = check_value(name, value)
        at = first_word_of(entry)
        for known in entry.metadata.gauges:
            if known == name:
                break
            at += 2
        else:
            raise no_gauge(entry, name)
        key, rows = entry.gauge_place ^ entry.incarnation << ROW_BITS, self._board.gauges
        if rows.in_use[0] != rows.number or not rows.fits(at, key):
            rows = self._rows_of(entry, at, key)
        rows.write(at, key, value)

    def _rows_of(self, entry: Entry, at: int, key: int) -> GaugeRows:
        """The rows, where there is no value of this entry in those that are mapped. Errors, unless the entry is the
        present holder of its id: then another program has written there, or one was killed between two words."""
        rows = self._attach()
        rows.refresh()
        if rows.fits(at, key):
            return rows
        present = self._reader.lookup(entry.process_id)
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
                f"there was no room for gauges in the file system of {self._folder} when its registrar started; free "
                "space there, and then: adsum registrar --replace"
            )
        return rows

    def _attach(self) -> GaugeRows:
        if self._closed:
            raise RegistryClosed("this registry was closed; open another")
        self._reader.attach()
        page = self._reader.open_page
        if page is not None and page.board_number != self._board.number:
            self._board = boards.attach(self._folder, page.board_number, writable=True)
        if page is None or self._board is NO_BOARD:
            raise RegistrarUnavailable(
                f"the registry in {self._folder} has no board for gauges: there is no registry, or its registrar is of "
                "an older version, or the file was removed; adsum registrar --replace makes it anew"
            )
        self._board.gauges.in_use = page.board_in_use
        return self._board.gauges

    def close(self) -> None:
        self._closed = True
        self._board = NO_BOARD
