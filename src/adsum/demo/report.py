"""The report: what happened, and whether it was right."""

from __future__ import annotations

import statistics
from typing import NamedTuple

import msgspec

from .chaos import Havoc
from .coordinator import Coordinator
from .job import FileReport, PackageTotals, differences, total
from .sources import Sources
from .witness import Witness

_SHOWN_DIFFERENCES = 20


class Lived(NamedTuple):
    """What came of the part with agents."""

    reports: list[FileReport]
    coordinator: Coordinator
    witness: Witness
    havoc: Havoc


class Delay(msgspec.Struct, frozen=True):
    """Milliseconds."""

    p50_ms: float
    max_ms: float

    def __str__(self) -> str:
        return f"p50 {self.p50_ms:6.2f} ms, max {self.max_ms:6.2f} ms"


class Report(msgspec.Struct, frozen=True):
    """What ``adsum demo --json`` prints.

    `kills` are those of chaos; `deaths` those that the coordinator learnt of from the registry. `kill_to_gone` is the
    time from SIGKILL to a lookup that finds nothing, `kernel_to_gone` the part of it after the kernel's word that the
    process had ended: None where nobody was killed. Lookups and finds are those of the coordinator and of chaos."""

    input: str
    files: int
    source_bytes: int
    packages: dict[str, PackageTotals]
    workers: int
    seed: int
    kills: int
    deaths: int
    pieces_given_again: int
    kill_to_gone: Delay | None
    kernel_to_gone: Delay | None
    lookups: int
    finds: int
    dead_handed_out: int
    equal_to_sequential: bool
    differences: list[str]
    seconds_agents: float
    seconds_sequential: float

    @property
    def good(self) -> bool:
        return self.equal_to_sequential and not self.dead_handed_out

    def lines(self) -> list[tuple[str, str]]:
        """The report for people: a heading and what there is to say."""
        defined, imported, lines = self._totals()
        return [
            ("input", f"{self.files} files: {self.input}"),
            ("found", f"{defined:,} definitions, {imported:,} imported names, {lines:,} lines"),
            (
                "time",
                f"{self.workers} agents {self.seconds_agents:.1f} s, with {self.workers + self.deaths} starts of an "
                f"interpreter; one process {self.seconds_sequential:.1f} s",
            ),
            ("kills", f"{self.kills} with SIGKILL, {self.deaths} deaths learnt from the registry"),
            ("again", f"{self.pieces_given_again} pieces of work were lost with an agent and given to another"),
            *self._gone(),
            ("reads", f"{self.lookups:,} lookups, {self.finds:,} finds"),
            ("dead", f"{self.dead_handed_out} dead processes handed out"),
            ("result", f"{'equal to' if self.equal_to_sequential else 'DIFFERS from'} that of the one process"),
        ]

    def _totals(self) -> tuple[int, int, int]:
        packages = self.packages.values()
        return (
            sum(sum(package.defined.values()) for package in packages),
            sum(package.imported for package in packages),
            sum(sum(package.lines.values()) for package in packages),
        )

    def _gone(self) -> list[tuple[str, str]]:
        if self.kill_to_gone is None or self.kernel_to_gone is None:
            return []
        return [
            ("gone", f"{self.kill_to_gone} from SIGKILL to a lookup that finds nothing"),
            ("", f"{self.kernel_to_gone} of that after the kernel's word"),
        ]


NEXT_STEP = (
    "`adsum run napper --capability napping -- sleep 60 &` makes any program a member, `adsum ls` finds it; "
    "docs/tutorial.md goes on from there"
)


def compose(
    sources: Sources, workers: int, seed: int, lived: Lived, expected: list[FileReport], seconds_alone: float
) -> Report:
    different = differences(lived.reports, expected)
    kills = lived.havoc.kills
    return Report(
        input=sources.what,
        files=len(sources.names),
        source_bytes=sources.size,
        packages=total(lived.reports),
        workers=workers,
        seed=seed,
        kills=len(kills),
        deaths=lived.coordinator.deaths,
        pieces_given_again=lived.coordinator.given_again,
        kill_to_gone=_delay([kill.gone for kill in kills]),
        kernel_to_gone=_delay([kill.gone - kill.ended for kill in kills]),
        lookups=lived.witness.lookups + lived.havoc.lookups,
        finds=lived.witness.finds,
        dead_handed_out=lived.witness.dead_handed_out + lived.havoc.dead_handed_out,
        equal_to_sequential=not different,
        differences=different[:_SHOWN_DIFFERENCES],
        seconds_agents=lived.coordinator.seconds,
        seconds_sequential=seconds_alone,
    )


def _delay(seconds: list[float]) -> Delay | None:
    return Delay(1000 * statistics.median(seconds), 1000 * max(seconds)) if seconds else None
