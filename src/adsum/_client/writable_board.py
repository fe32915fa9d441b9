"""The board of a registry, mapped so that members of this process can write into their rows."""

from __future__ import annotations

from pathlib import Path

from .._store import board as boards
from .._store.board import NO_BOARD, Board
from .._store.hosts import boottime_ns
from .._store.member_rows import MemberRows
from .._store.reader import Reader
from ..errors import RegistrarUnavailable, RegistryClosed


class WritableBoard:
    """Keeps it mapped. `rows`, and `hosts`, which are for a bridge, are those of the board that was found last."""

    def __init__(self, folder: Path, reader: Reader) -> None:
        self.folder = folder
        self.reader = reader
        self._closed = False
        self._use(NO_BOARD)

    def _use(self, board: Board) -> None:
        self._board = board
        self.rows = board.rows
        self.hosts = board.host_words(boottime_ns)

    @property
    def has_clock_of_this_process(self) -> bool:
        return self._board.has_clock_of_this_process

    def attach(self) -> MemberRows:
        """The rows of the board that is in use now. Errors: `RegistryClosed`; `RegistrarUnavailable` where there is
        none."""
        if self._closed:
            raise RegistryClosed("this registry was closed; open another")
        self.reader.attach()
        page = self.reader.open_page
        if page is not None and page.board_number != self._board.number:
            self._use(boards.attach(self.folder, page.board_number, writable=True))
        if page is None or self._board is NO_BOARD:
            raise RegistrarUnavailable(
                f"the registry in {self.folder} has no board for gauges: there is no registry, or its registrar is of "
                "an older version, or the file was removed; adsum registrar --replace makes it anew"
            )
        self.rows.in_use = page.board_in_use
        self.rows.refresh()
        return self.rows

    def close(self) -> None:
        self._closed = True
        self._use(NO_BOARD)
