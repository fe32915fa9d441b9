"""The report: what happened, and whether it was right."""

from __future__ import annotations

import statistics
from typing import NamedTuple

import msgspec

from .chaos import Havoc
from .comparison import differences, differences_in_totals
from .job import FileReport, PackageTotals, total
from .journal import Began, Died, Finished, Given, Record, Stuck, Summed, Well
from .sources import Sources
from .status import StatusUpdate
from .team import BLOCKED_SECONDS, adder

_SHOWN_DIFFERENCES = 20


class Lived(NamedTuple):
    """What came of the part with agents: the journal, the last that each coordinator told, what chaos did, and how many
    seconds it took."""

    journal: list[Record]
    updates: list[StatusUpdate]
    havoc: Havoc
    seconds: float


class Delay(msgspec.Struct, frozen=True):
    """Milliseconds."""

    p50_ms: float
    max_ms: float

    def __str__(self) -> str:
        return f"p50 {self.p50_ms:6.2f} ms, max {self.max_ms:6.2f} ms"


class Takeover(msgspec.Struct, frozen=True):
    """A coordinator was killed, and the one that stood by finished the job.

    `kill_to_registered_ms` is the time from SIGKILL until a lookup found the successor under the coordinator's id;
    `files_kept` files were in the journal by then."""

    killed_pid: int
    successor_pid: int
    kill_to_registered_ms: float
    files_kept: int

    def __str__(self) -> str:
        return (
            f"pid {self.killed_pid} was killed; pid {self.successor_pid}, which stood by, had its id "
            f"{self.kill_to_registered_ms:.2f} ms after SIGKILL and went on from {self.files_kept} finished files"
        )


class Blocked(msgspec.Struct, frozen=True):
    """What came of the agent that blocked its event loop.

    `degraded_seconds` is how long the registry showed it as such; `taken_back` and `given_meanwhile` are the pieces
    that it had in hand then and that it was given while it was; `given_afterwards` those since it was well again."""

    agent: str
    blocked_seconds: float
    degraded_seconds: float
    taken_back: int
    given_meanwhile: int
    given_afterwards: int

    def __str__(self) -> str:
        return (
            f"{self.agent} blocked its event loop for {self.blocked_seconds:g} s: shown degraded for "
            f"{self.degraded_seconds:.1f} s, given {self.given_meanwhile} pieces of work meanwhile, and "
            f"{self.given_afterwards} when it was well again"
        )


class Report(msgspec.Struct, frozen=True):
    """What ``adsum demo --json`` prints.

    `kills` are those of chaos among the agents; `deaths` those that the coordinators learnt of from the registry.
    `kill_to_gone` is the time from SIGKILL to a lookup that finds nothing, `kernel_to_gone` the part of it after the
    kernel's word that the process had ended: None where nobody was killed. `takeover` is None where the coordinator was
    not, `blocked` where nobody was found stuck. Lookups and finds are those of the coordinators and of chaos."""

    input: str
    files: int
    source_bytes: int
    packages: dict[str, PackageTotals]
    workers: int
    seed: int
    kills: int
    deaths: int
    pieces_given_again: int
    takeover: Takeover | None
    blocked: Blocked | None
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
        given = self.blocked.given_meanwhile if self.blocked is not None else 0
        return self.equal_to_sequential and not self.dead_handed_out and not given

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
            ("leader", str(self.takeover) if self.takeover is not None else "the coordinator was not killed"),
            ("stuck", str(self.blocked) if self.blocked is not None else "nobody was"),
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
    reports = [record.report for record in lived.journal if isinstance(record, Finished)]
    totals = {record.package: record.totals for record in lived.journal if isinstance(record, Summed)}
    deaths = [record for record in lived.journal if isinstance(record, Died)]
    different = [*differences(reports, expected), *differences_in_totals(totals, total(expected))]
    kills = lived.havoc.kills
    return Report(
        input=sources.what,
        files=len(sources.names),
        source_bytes=sources.size,
        packages=dict(sorted(totals.items())),
        workers=workers,
        seed=seed,
        kills=len(kills),
        deaths=len(deaths),
        pieces_given_again=sum(bool(death.lost) for death in deaths),
        takeover=_takeover(lived),
        blocked=_blocked(lived.journal),
        kill_to_gone=_delay([kill.gone for kill in kills]),
        kernel_to_gone=_delay([kill.gone - kill.ended for kill in kills]),
        lookups=sum(updates.lookups for updates in lived.updates) + lived.havoc.lookups,
        finds=sum(updates.finds for updates in lived.updates),
        dead_handed_out=sum(updates.dead_handed_out for updates in lived.updates) + lived.havoc.dead_handed_out,
        equal_to_sequential=not different,
        differences=different[:_SHOWN_DIFFERENCES],
        seconds_agents=lived.seconds,
        seconds_sequential=seconds_alone,
    )


def _takeover(lived: Lived) -> Takeover | None:
    found = lived.havoc.takeover
    if found is None:
        return None
    began = next(place for place, record in enumerate(lived.journal) if _is_successor(record, found.successor))
    kept = sum(isinstance(record, Finished) for record in lived.journal[:began])
    return Takeover(found.killed, found.successor, 1000 * found.seconds, kept)


def _is_successor(record: Record, pid: int) -> bool:
    return isinstance(record, Began) and record.pid == pid


def _blocked(records: list[Record]) -> Blocked | None:
    """What the journal tells of the agent that blocks its loop. Its pieces are packages; one that was given by an entry
    that is older than what its coordinator had heard by then was given to somebody known to be stuck."""
    name = adder().name
    stuck: Stuck | None = None
    seconds, taken_back, meanwhile, afterwards = 0.0, 0, 0, 0
    well = False
    for record in records:
        match record:
            case Stuck() if record.name == name:
                stuck, well = record, False
                taken_back += bool(record.taken_back)
            case Well() if record.name == name and stuck is not None:
                seconds += (record.at - stuck.at).total_seconds()
                stuck, well = None, True
            case Given() if record.to == name and stuck is not None and record.revision <= stuck.revision:
                meanwhile += 1
            case Given() if record.to == name:
                afterwards += well or stuck is not None
    if not (well or seconds or stuck):
        return None
    return Blocked(name, BLOCKED_SECONDS, seconds, taken_back, meanwhile, afterwards)


def _delay(seconds: list[float]) -> Delay | None:
    return Delay(1000 * statistics.median(seconds), 1000 * max(seconds)) if seconds else None
