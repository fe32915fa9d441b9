"""What the demo over three hosts says at the end, and whether that is good."""

from __future__ import annotations

import msgspec

from ..comparison import differences, differences_in_totals
from ..job import FileReport, total
from ..journal import AgentDeath, FileResult, HostLoss, PackageResult, Record
from ..sources import Sources
from .kills import AgentKill, HostKill, LeaderKill, Outcome
from .orders import Orders

_SHOWN_DIFFERENCES = 20


class Delays(msgspec.Struct, frozen=True):
    """Percentiles of `n` delays, in milliseconds. Below 100 of them the 99th is the worst."""

    n: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    def __str__(self) -> str:
        return f"p50 {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms, {self.n} lookups"


class ClusterReport(msgspec.Struct, frozen=True):
    """The result of the demo over three hosts; ``adsum demo --cluster --json`` prints it.

    - `kill_to_gone`: from SIGKILL on one host to a lookup on another host that finds nothing. `kill_to_gone_here`: to
      one on the same host. `kernel`: the part of it until the kernel reported the end. All are None without kills.
    - `killed_without_leader`: the kill at the moment at which etcd had lost its leader; it is in none of the delays.
    - `dead_handed_out`: reads that returned a process of the reader's own host after its end, or one of another host
      more than `bound_seconds` after its end. `stale_answers`: reads that returned one of another host sooner after its
      end, while the news travelled; `longest_stale_ms` is the longest time after an end of these.
    - `lookups` and `finds` are those of an observer on each host, which never stops, and those of the coordinators.
    """

    input: str
    files: int
    workers: int
    seed: int
    namespaces: bool
    etcd: str
    ttl_seconds: int
    bound_seconds: float
    kills: int
    deaths: int
    pieces_given_again: int
    host_killed: HostKill | None
    leader_killed: LeaderKill | None
    killed_without_leader: AgentKill | None
    kill_to_gone: Delays | None
    kill_to_gone_here: Delays | None
    kernel: Delays | None
    lookups: int
    finds: int
    dead_handed_out: int
    stale_answers: int
    longest_stale_ms: float
    equal_to_sequential: bool
    differences: list[str]
    seconds_agents: float
    seconds_sequential: float

    @property
    def good(self) -> bool:
        """Whether the result is right, and no dead process was returned."""
        return self.equal_to_sequential and not self.dead_handed_out

    def lines(self) -> list[tuple[str, str]]:
        """The report for people: headings and lines."""
        each = (
            "each in network, PID and UTS namespaces of its own" if self.namespaces else "each in a folder of its own"
        )
        return [
            ("input", f"{self.files} files: {self.input}"),
            ("hosts", f"3, {each}"),
            ("", f"etcd {self.etcd} of 3 members, time to live {self.ttl_seconds} s"),
            ("time", f"{self.workers} agents {self.seconds_agents:.1f} s; one process {self.seconds_sequential:.1f} s"),
            (
                "kills",
                f"{self.kills} agents with SIGKILL; the coordinators saw {self.deaths} deaths in their registries",
            ),
            ("again", f"{self.pieces_given_again} pieces of work were lost with an agent or a host and reassigned"),
            *self._host_lines(),
            *self._leader_lines(),
            *self._delay_lines(),
            ("reads", f"{self.lookups:,} lookups, {self.finds:,} finds on all hosts, each checked"),
            (
                "dead",
                f"{self.dead_handed_out} dead processes returned more than {self.bound_seconds:g} s after their end,",
            ),
            ("", f"{self.stale_answers} sooner, while the news travelled: {self.longest_stale_ms:.0f} ms at most"),
            ("result", f"{'equal to' if self.equal_to_sequential else 'DIFFERS from'} that of one process alone"),
        ]

    def _host_lines(self) -> list[tuple[str, str]]:
        host = self.host_killed
        if host is None:
            return [("host", "no host was killed")]
        back = f"back {host.returned:.1f} s after its start" if host.returned is not None else "not back before the end"
        return [
            ("host", f"{host.host} was killed, with {host.agents} agents and the coordinator"),
            ("", f"the others found none of them after {max(host.gone):.1f} s"),
            ("", f"a coordinator on {host.successor} led after {host.takeover:.1f} s; {host.host} was {back}"),
        ]

    def _leader_lines(self) -> list[tuple[str, str]]:
        leader, killed = self.leader_killed, self.killed_without_leader
        if leader is None or killed is None:
            return [("etcd", "its leader was not killed")]
        return [
            ("etcd", f"its leader {leader.member} was killed; another led after {leader.seconds:.1f} s"),
            ("", f"an agent killed in that moment was gone on all hosts after {max(killed.others, default=0):.1f} s"),
        ]

    def _delay_lines(self) -> list[tuple[str, str]]:
        if self.kill_to_gone is None:
            return []
        return [
            ("gone", "from SIGKILL on one host to a lookup that finds nothing"),
            ("", f"on another host: {self.kill_to_gone}"),
            ("", f"on the same host: {self.kill_to_gone_here}"),
        ]


def make_report(
    sources: Sources,
    orders: Orders,
    records: list[Record],
    outcome: Outcome,
    expected: list[FileReport],
    seconds: tuple[float, float],
) -> ClusterReport:
    """Compare the agents' result with that of one process, `expected`, and gather the figures."""
    reports = [record.report for record in records if isinstance(record, FileResult)]
    totals = {record.package: record.totals for record in records if isinstance(record, PackageResult)}
    different = [*differences(reports, expected), *differences_in_totals(totals, total(expected))]
    usual = [kill for kill in outcome.agents if not kill.without_leader]
    lost = [record.lost for record in records if isinstance(record, AgentDeath) and record.lost]
    lost += [piece for record in records if isinstance(record, HostLoss) for piece in record.lost]
    return ClusterReport(
        input=sources.description,
        files=len(sources.names),
        workers=sum(map(len, orders.hosts.values())) - 1,
        seed=orders.seed,
        namespaces=orders.has_namespaces,
        etcd=outcome.etcd,
        ttl_seconds=orders.ttl,
        bound_seconds=orders.bound,
        kills=len(outcome.agents),
        deaths=sum(isinstance(record, AgentDeath) for record in records),
        pieces_given_again=len(lost),
        host_killed=outcome.host,
        leader_killed=outcome.leader,
        killed_without_leader=next((kill for kill in outcome.agents if kill.without_leader), None),
        kill_to_gone=_delays([other for kill in usual for other in kill.others]),
        kill_to_gone_here=_delays([kill.here for kill in usual]),
        kernel=_delays([kill.ended for kill in usual]),
        lookups=outcome.lookups,
        finds=outcome.finds,
        dead_handed_out=outcome.dead_handed_out,
        stale_answers=outcome.staleness.answers,
        longest_stale_ms=1000 * outcome.staleness.longest,
        equal_to_sequential=not different,
        differences=different[:_SHOWN_DIFFERENCES],
        seconds_agents=seconds[0],
        seconds_sequential=seconds[1],
    )


def _delays(seconds: list[float]) -> Delays | None:
    if not seconds:
        return None
    ordered = sorted(seconds)

    def at(part: float) -> float:
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * part))]

    return Delays(len(ordered), at(0.5), at(0.99), 1000 * ordered[-1])
