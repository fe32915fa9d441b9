"""The backlog: which stage of which file comes next. It knows no agents.

A file is read; then it is parsed and counted, in either order; then it is checked. When all files of a package are
done, the package is summed up. A piece of work that was lost with its agent is given back, and comes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from .job import (
    CHECKING,
    COUNTING,
    PARSING,
    READING,
    STAGES,
    SUMMING,
    FileReport,
    Lines,
    PackageTotals,
    Symbols,
    Text,
    package_of,
)
from .messages import Check, Count, Parse, Product, Read, Sum, Totals, Work


class Piece(NamedTuple):
    """One stage of one file, or the summing of one package."""

    stage: str
    name: str


class _Findings:
    """What the finished stages found about one file."""

    source: Text | None = None
    symbols: Symbols | None = None
    lines: Lines | None = None


class Backlog:
    """The waiting pieces, and the findings of the finished ones. At most `max_open_files` files are open, that is begun
    and not done, so that memory does not grow with the folder. `reports` and `sums` are the results of an earlier
    coordinator. The last `held_back` files are not begun: who sets it to 0 lets them go."""

    def __init__(
        self,
        root: Path,
        names: list[str],
        max_open_files: int,
        reports: Iterable[FileReport] = (),
        sums: Mapping[str, PackageTotals] | None = None,
    ) -> None:
        self._root = root
        self._max_open_files = max_open_files
        self.held_back = 0
        self._open: dict[str, _Findings] = {}
        self.files = len(names)
        self.reports: dict[str, FileReport] = {report.name: report for report in reports}
        self.sums: dict[str, PackageTotals] = dict(sums or {})
        self._packages: dict[str, list[str]] = {}
        for name in names:
            self._packages.setdefault(package_of(name), []).append(name)
        self._waiting: dict[str, deque[str]] = {stage: deque() for stage in (*STAGES, SUMMING)}
        self._waiting[READING].extend(name for name in names if name not in self.reports)
        self._waiting[SUMMING].extend(
            package for package in self._packages if package not in self.sums and self._is_done(package)
        )

    @property
    def done(self) -> int:
        return len(self.reports)

    @property
    def finished(self) -> bool:
        """Whether every file is done and every package summed up."""
        return len(self.sums) == len(self._packages) and self.done == self.files

    def stages(self) -> list[str]:
        """The stages that have work waiting, the last stage first: open files come before new ones."""
        ready = [stage for stage in (SUMMING, *reversed(STAGES)) if self._waiting[stage]]
        begun = len(self._open) + self.done
        is_full = len(self._open) >= self._max_open_files or begun >= self.files - self.held_back
        if is_full and READING in ready and self._waiting[READING][0] not in self._open:
            ready.remove(READING)
        return ready

    def take(self, stage: str) -> tuple[Piece, Work]:
        """The next piece of a stage that has work waiting, and the work to send to an agent."""
        name = self._waiting[stage].popleft()
        if stage == SUMMING:
            return Piece(stage, name), Sum(name, [self.reports[file] for file in self._packages[name]])
        found = self._open.setdefault(name, _Findings())
        return Piece(stage, name), self._work(stage, name, found)

    def give_back(self, piece: Piece) -> None:
        """Put a piece that was not finished in front of its stage's queue."""
        self._waiting[piece.stage].appendleft(piece.name)

    def finish(self, piece: Piece, product: Product) -> None:
        """Take the product of a piece, and queue the pieces that depend on it. Errors: `ValueError` for a wrong
        product."""
        match piece.stage, product:
            case "reading", Text():
                self._open[piece.name].source = product
                self._waiting[PARSING].append(piece.name)
                self._waiting[COUNTING].append(piece.name)
            case "parsing", Symbols():
                self._open[piece.name].symbols = product
                self._check_next(piece.name)
            case "counting", Lines():
                self._open[piece.name].lines = product
                self._check_next(piece.name)
            case "checking", FileReport():
                self._finish_file(piece.name, product)
            case "summing", Totals():
                self.sums[piece.name] = product.totals
            case _:
                raise ValueError(f"{type(product).__name__} is not a product of {piece.stage}")

    def _check_next(self, name: str) -> None:
        found = self._open[name]
        if found.symbols and found.lines:
            self._waiting[CHECKING].append(name)

    def _finish_file(self, name: str, report: FileReport) -> None:
        self.reports[name] = report
        del self._open[name]
        package = package_of(name)
        if self._is_done(package):
            self._waiting[SUMMING].append(package)

    def _is_done(self, package: str) -> bool:
        return all(name in self.reports for name in self._packages[package])

    def _work(self, stage: str, name: str, found: _Findings) -> Work:
        if stage == READING or found.source is None:
            return Read(str(self._root / name))
        if stage == PARSING:
            return Parse(found.source.text)
        if stage == COUNTING or found.symbols is None or found.lines is None:
            return Count(found.source.text)
        return Check(name, found.source, found.symbols, found.lines)
