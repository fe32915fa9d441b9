"""What is still to be done: which stage of which file comes next. Knows no agents.

A file is read; then it is parsed and counted, in either order; then it is checked. A piece of work that was given to
somebody who died is given back, and comes first.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import NamedTuple

from .job import CHECKING, COUNTING, PARSING, READING, STAGES, FileReport, Lines, Symbols, Text
from .messages import Check, Count, Parse, Product, Read, Work


class Piece(NamedTuple):
    """One stage of one file."""

    stage: str
    name: str


class _Found:
    """What is known of a file so far."""

    source: Text | None = None
    symbols: Symbols | None = None
    lines: Lines | None = None


class Backlog:
    """The pieces that wait, and what the finished ones found. At most `ahead` files are begun and not yet done, so
    that memory does not grow with the folder."""

    def __init__(self, root: Path, names: list[str], ahead: int) -> None:
        self._root = root
        self._waiting: dict[str, deque[str]] = {stage: deque() for stage in STAGES}
        self._waiting[READING].extend(names)
        self._begun: dict[str, _Found] = {}
        self._ahead = ahead
        self.files = len(names)
        self.reports: list[FileReport] = []

    @property
    def done(self) -> int:
        return len(self.reports)

    def stages(self) -> list[str]:
        """The stages that have work waiting, the last one first: what is begun should get done."""
        ready = [stage for stage in reversed(STAGES) if self._waiting[stage]]
        if len(self._begun) >= self._ahead and READING in ready and self._waiting[READING][0] not in self._begun:
            ready.remove(READING)
        return ready

    def take(self, stage: str) -> tuple[Piece, Work]:
        """The next piece of a stage that has one waiting, and what to send to an agent."""
        name = self._waiting[stage].popleft()
        found = self._begun.setdefault(name, _Found())
        return Piece(stage, name), self._work(stage, name, found)

    def give_back(self, piece: Piece) -> None:
        self._waiting[piece.stage].appendleft(piece.name)

    def finish(self, piece: Piece, product: Product) -> None:
        """Take the product of a piece, and let what depends on it wait. Errors: `ValueError` for a wrong product."""
        found = self._begun[piece.name]
        match piece.stage, product:
            case "reading", Text():
                found.source = product
                self._waiting[PARSING].append(piece.name)
                self._waiting[COUNTING].append(piece.name)
            case "parsing", Symbols():
                found.symbols = product
            case "counting", Lines():
                found.lines = product
            case "checking", FileReport():
                self.reports.append(product)
                del self._begun[piece.name]
                return
            case _:
                raise ValueError(f"{type(product).__name__} is no product of {piece.stage}")
        if found.symbols and found.lines:
            self._waiting[CHECKING].append(piece.name)

    def _work(self, stage: str, name: str, found: _Found) -> Work:
        if stage == READING or found.source is None:
            return Read(str(self._root / name))
        if stage == PARSING:
            return Parse(found.source.text)
        if stage == COUNTING or found.symbols is None or found.lines is None:
            return Count(found.source.text)
        return Check(name, found.source, found.symbols, found.lines)
