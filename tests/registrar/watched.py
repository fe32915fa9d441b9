"""A registrar under attack and observation: it must live, stay small, and serve well-behaved clients."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import TracebackType

import adsum
from adsum import AdsumError

from ..support import registrar_pid

PAGE = os.sysconf("SC_PAGESIZE")


def private_bytes(pid: int) -> int:
    """Resident memory of a process without what it shares with others or maps of files (proc(5), statm)."""
    _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
    return (resident - shared) * PAGE


def open_descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


class Watched:
    """The registrar of `folder`, and a client of it that behaves and calls all the time inside the ``with`` block.

    At the end of the block it must be the same process, its memory not more than `allowance` larger than at `settled`,
    and every call of the one who behaves must have succeeded within `patience` seconds.
    """

    def __init__(self, folder: Path, *, allowance: int = 8 * 1024 * 1024, patience: float = 5.0) -> None:
        self.folder = folder
        self._allowance = allowance
        self._patience = patience
        self._over = threading.Event()
        self._served = 0
        self.longest = 0.0
        self._errors: list[str] = []
        self._thread = threading.Thread(target=self._behave)
        self._registry = adsum.open(path=folder, timeout=patience)

    @property
    def served(self) -> int:
        """How many calls of the client that behaves have succeeded."""
        return self._served

    def __enter__(self) -> Watched:
        self._registry.register("behaves")
        pid = registrar_pid(self.folder)
        assert pid is not None
        self.pid = pid
        self.settled()
        self._thread.start()
        return self

    def settled(self) -> None:
        """From here on memory is to stay as it is."""
        self.private = private_bytes(self.pid)

    def __exit__(self, kind: type[BaseException] | None, _error: object, _traceback: TracebackType | None) -> None:
        served = self._served
        try:
            until = time.monotonic() + self._patience
            while kind is None and self._served == served and time.monotonic() < until and not self._errors:
                time.sleep(0.005)
        finally:
            self._over.set()
            self._thread.join()
            audit = self._registry.audit()
            self._registry.close()
        if kind is None:
            assert registrar_pid(self.folder) == self.pid, (self.folder / "registrar.log").read_text()[-2000:]
            assert self._errors == []
            assert self._served > served
            assert audit == []
            grown = private_bytes(self.pid) - self.private
            assert grown < self._allowance, f"grew by {grown} bytes"

    def _behave(self) -> None:
        while not self._over.wait(0.002):
            began = time.monotonic()
            try:
                self._registry.update_health("behaves", "healthy")
            except AdsumError as error:
                self._errors.append(repr(error))
            else:
                self._served += 1
                self.longest = max(self.longest, time.monotonic() - began)
