"""The current tables, and the move to fresh ones.

LMDB cannot reuse a page that some snapshot may still need. A reader that is stopped inside a read keeps its snapshot,
and with it every page freed since: the file would grow with each commit until nothing can be written. No reader has a
snapshot of fresh tables. The stopped reader keeps the old ones, which have no name any more, and opens the current ones
when it goes on.
"""

from __future__ import annotations

from .._store import tables
from .._store.environment import Environment, compact_copy, remove_other_generations
from .._store.page import Page
from ..errors import AdsumError
from ..model import Limits
from .ports import Ports

RETRY_SECONDS = 1.0


class Generations:
    """The tables of one registry through their generations; `current` is the one that is written and read."""

    def __init__(self, current: Environment, page: Page, limits: Limits, ports: Ports) -> None:
        self.current = current
        self._page = page
        self._limits = limits
        self._clock, self._failpoint, self._log = ports.clock, ports.failpoint, ports.log
        self._not_before = 0.0

    def is_in_place(self) -> bool:
        """Whether a reader that opens the folder now finds this page and these tables."""
        return self.page_is_in_place() and self.current.is_in_place()

    def page_is_in_place(self) -> bool:
        """The half of `is_in_place` that is asked after each commit."""
        return self._page.is_in(self.current.folder)

    def free_dead_readers(self) -> None:
        """Free the slots of readers that died inside a read."""
        self.current.free_dead_readers()

    def check_growth(self) -> None:
        """Move to fresh tables when the file has grown to half its bound. Never fails: at worst the old ones stay."""
        if self.current.file_bytes() >= self._page.map_size // 2 and self._clock.monotonic() >= self._not_before:
            self.renew()

    def renew(self) -> None:
        """Move to fresh tables, unless the entries themselves need most of the memory."""
        try:
            self.free_dead_readers()
            with tables.read(self.current) as now:
                needed = now.measure()
            if needed <= self._limits.max_memory_bytes * 3 // 4:
                self._move(needed)
        except AdsumError as error:
            self._not_before = self._clock.monotonic() + RETRY_SECONDS
            self._log.warning("could not move to fresh tables: %s", error)

    def close(self) -> None:
        self.current.close()

    def _move(self, needed: int) -> None:
        old, map_size = self.current, self._page.map_size
        fresh = compact_copy(old, map_size, self._limits.max_readers, needed)
        self._failpoint("before_switch")
        self.current = fresh
        # From here on readers open the fresh tables; nothing was committed in between.
        self._page.switch(fresh.generation, map_size)
        self._failpoint("after_switch")
        old.close()
        remove_other_generations(fresh.folder, fresh.generation)
        self._log.info("moved to fresh tables, generation %d", fresh.generation)
