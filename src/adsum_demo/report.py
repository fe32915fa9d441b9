"""The report: what happened, and whether the result and the registry's answers were right."""

from __future__ import annotations

import os
import statistics
from typing import NamedTuple

import msgspec

from .chaos import ChaosReport
from .comparison import differences, differences_in_totals
from .job import FileReport, PackageTotals, total
from .journal import AgentDeath, FileResult, PackageResult, Record, StuckEnd, StuckStart, SumAssignment, TermStart
from .sources import Sources
from .status import StatusUpdate
from .team import BLOCKED_SECONDS, adder

_SHOWN_DIFFERENCES = 20


class AgentRun(NamedTuple):
    """The part of the demo with agents: the journal, the last status update of each coordinator, the report of chaos,
    and the seconds that it took."""

    journal: list[Record]
    updates: list[StatusUpdate]
    chaos_report: ChaosReport
    seconds: float


class Delay(msgspec.Struct, frozen=True):
    """The median and the maximum of several delays, in milliseconds."""

    p50_ms: float
    max_ms: float

    def __str__(self) -> str:
        return f"p50 {self.p50_ms:6.2f} ms, max {self.max_ms:6.2f} ms"


class Takeover(msgspec.Struct, frozen=True):
    """The coordinator was killed, and its stand-by finished the job.

    `kill_to_registered_ms` is the time from SIGKILL until a lookup found the successor under the coordinator's id.
    `files_kept` is the number of files that were in the journal by then."""

    killed_pid: int
    successor_pid: int
    kill_to_registered_ms: float
    files_kept: int

    def __str__(self) -> str:
        return (
            f"pid {self.killed_pid} was killed; its stand-by, pid {self.successor_pid}, held the id "
            f"{self.kill_to_registered_ms:.2f} ms after SIGKILL and continued from {self.files_kept} finished files"
        )


class BlockedAgent(msgspec.Struct, frozen=True):
    """The agent that blocked its event loop.

    `degraded_seconds` is how long the registry showed it degraded. `taken_back` counts the pieces that it had in hand
    then, `given_meanwhile` those that it was given while it was stuck (it should be 0), `given_afterwards` those that
    it was given once it was healthy again."""

    agent: str
    blocked_seconds: float
    degraded_seconds: float
    taken_back: int
    given_meanwhile: int
    given_afterwards: int

    def __str__(self) -> str:
        return (
            f"{self.agent} blocked its event loop for {self.blocked_seconds:g} s: degraded for "
            f"{self.degraded_seconds:.1f} s, given {self.given_meanwhile} pieces of work meanwhile, and "
            f"{self.given_afterwards} when it was healthy again"
        )


class Report(msgspec.Struct, frozen=True):
    """The result of the demo; ``adsum demo --json`` prints it.

    `kills` counts the agents that chaos killed, `deaths` the deaths that the coordinators saw in the registry.
    `kill_to_gone` is the time from SIGKILL to a lookup that finds nothing, `kernel_to_gone` the part of it after the
    kernel reported the death; both are None without kills. `takeover` is None where the coordinator was not killed,
    `blocked` where no agent was marked late. Lookups and finds are those of the coordinators and of chaos."""

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
    blocked: BlockedAgent | None
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
        """Whether the result is right, no dead process was returned, and no stuck agent was given work."""
        given = self.blocked.given_meanwhile if self.blocked is not None else 0
        return self.equal_to_sequential and not self.dead_handed_out and not given

    def lines(self) -> list[tuple[str, str]]:
        """The report for people: headings and lines."""
        defined, imported, lines = self._totals()
        return [
            ("input", f"{self.files} files: {self.input}"),
            ("found", f"{defined:,} definitions, {imported:,} imported names, {lines:,} lines"),
            (
                "time",
                f"{self.workers} agents {self.seconds_agents:.1f} s, with {self.workers + self.deaths} starts of a "
                f"Python process; one process {self.seconds_sequential:.1f} s",
            ),
            *self._why_slower(),
            ("kills", f"{self.kills} with SIGKILL; the coordinator saw {self.deaths} deaths in the registry"),
            ("again", f"{self.pieces_given_again} pieces of work were lost with an agent and reassigned"),
            ("leader", str(self.takeover) if self.takeover is not None else "the coordinator was not killed"),
            ("stuck", str(self.blocked) if self.blocked is not None else "no agent was stuck"),
            *self._delays(),
            ("reads", f"{self.lookups:,} lookups, {self.finds:,} finds"),
            ("dead", f"{self.dead_handed_out} dead processes returned by a read"),
            ("result", f"{'equal to' if self.equal_to_sequential else 'DIFFERS from'} that of one process alone"),
        ]

    def _totals(self) -> tuple[int, int, int]:
        packages = self.packages.values()
        return (
            sum(sum(package.defined.values()) for package in packages),
            sum(package.imported for package in packages),
            sum(sum(package.lines.values()) for package in packages),
        )

    def _why_slower(self) -> list[tuple[str, str]]:
        if self.seconds_agents <= self.seconds_sequential:
            return []
        count = len(os.sched_getaffinity(0))
        processors = "one processor" if count == 1 else f"{count} processors"
        why = (
            f"slower than one process: the job is short, and on {processors} every start of Python costs a part of it. "
            "The demo shows what survives, not how to be fast"
        )
        return [("", why)]

    def _delays(self) -> list[tuple[str, str]]:
        if self.kill_to_gone is None or self.kernel_to_gone is None:
            return []
        return [
            ("gone", f"{self.kill_to_gone} from SIGKILL to a lookup that finds nothing"),
            ("", f"{self.kernel_to_gone} of that after the kernel reported the death"),
        ]


# `{adsum}` is the command, as the reader of the report can run it.
NEXT_STEP = (
    "`{adsum} run napper --capability napping -- sleep 60 &` makes any program a member, `{adsum} ls` finds it; "
    "docs/tutorial.md continues from there"
)


def make_report(
    sources: Sources, workers: int, seed: int, agent_run: AgentRun, expected: list[FileReport], seconds_alone: float
) -> Report:
    """Compare the agents' result with that of one process, `expected`, and gather the figures."""
    journal, updates, chaos = agent_run.journal, agent_run.updates, agent_run.chaos_report
    reports = [record.report for record in journal if isinstance(record, FileResult)]
    totals = {record.package: record.totals for record in journal if isinstance(record, PackageResult)}
    deaths = [record for record in journal if isinstance(record, AgentDeath)]
    different = [*differences(reports, expected), *differences_in_totals(totals, total(expected))]
    return Report(
        input=sources.description,
        files=len(sources.names),
        source_bytes=sources.size,
        packages=dict(sorted(totals.items())),
        workers=workers,
        seed=seed,
        kills=len(chaos.kills),
        deaths=len(deaths),
        pieces_given_again=sum(bool(death.lost) for death in deaths),
        takeover=_takeover(agent_run),
        blocked=_blocked_agent(journal),
        kill_to_gone=_delay([kill.gone for kill in chaos.kills]),
        kernel_to_gone=_delay([kill.gone - kill.ended for kill in chaos.kills]),
        lookups=sum(update.lookups for update in updates) + chaos.lookups,
        finds=sum(update.finds for update in updates),
        dead_handed_out=sum(update.dead_handed_out for update in updates) + chaos.dead_handed_out,
        equal_to_sequential=not different,
        differences=different[:_SHOWN_DIFFERENCES],
        seconds_agents=agent_run.seconds,
        seconds_sequential=seconds_alone,
    )


def _takeover(agent_run: AgentRun) -> Takeover | None:
    found = agent_run.chaos_report.takeover
    if found is None:
        return None
    journal = agent_run.journal
    start = next(number for number, record in enumerate(journal) if _is_start_of(record, found.successor))
    kept = sum(isinstance(record, FileResult) for record in journal[:start])
    return Takeover(found.killed, found.successor, 1000 * found.seconds, kept)


def _is_start_of(record: Record, pid: int) -> bool:
    return isinstance(record, TermStart) and record.pid == pid


def _blocked_agent(records: list[Record]) -> BlockedAgent | None:
    """What the journal says about the agent that blocks its loop; None where it was never marked late. Its pieces are
    packages. A package counts as given meanwhile where the coordinator had already seen the agent stuck, and chose it
    by an entry of an earlier revision all the same."""
    name = adder().name
    stuck: StuckStart | None = None
    seconds, taken_back, meanwhile, afterwards = 0.0, 0, 0, 0
    recovered = False
    for record in records:
        match record:
            case StuckStart() if record.name == name:
                stuck, recovered = record, False
                taken_back += bool(record.taken_back)
            case StuckEnd() if record.name == name and stuck is not None:
                seconds += (record.at - stuck.at).total_seconds()
                stuck, recovered = None, True
            case SumAssignment() if record.to == name and stuck is not None and record.revision <= stuck.revision:
                meanwhile += 1
            case SumAssignment() if record.to == name:
                afterwards += recovered or stuck is not None
    if not (recovered or seconds or stuck):
        return None
    return BlockedAgent(name, BLOCKED_SECONDS, seconds, taken_back, meanwhile, afterwards)


def _delay(seconds: list[float]) -> Delay | None:
    return Delay(1000 * statistics.median(seconds), 1000 * max(seconds)) if seconds else None
