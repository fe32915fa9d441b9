"""The kills, one at a time, each measured at the other hosts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from ..coordinator import DemoFailed
from ..witness import Staleness
from . import control
from .etcd import Member

if TYPE_CHECKING:
    from .conductor import Conductor
    from .hosts import Host

FIND_SECONDS = 10.0
GONE_SECONDS = 30.0
RETURN_SECONDS = 60.0


class AgentKill(msgspec.Struct, frozen=True):
    """Seconds from the SIGKILL of an agent until the kernel reported its end, until a lookup on its own host missed it,
    and until a lookup on each of the other hosts did. `without_leader` where etcd's leader was killed just before."""

    host: str
    ended: float
    here: float
    others: list[float]
    without_leader: bool = False


class HostKill(msgspec.Struct, frozen=True):
    """A host was killed, with so many agents. Seconds from the kill until the other hosts found none of them, until
    another coordinator led, and from its new start until the others found its agents again."""

    host: str
    agents: int
    gone: list[float]
    successor: str
    takeover: float
    returned: float | None


class LeaderKill(msgspec.Struct, frozen=True):
    """etcd's leader was killed; seconds until there was another."""

    member: str
    seconds: float


class Outcome(msgspec.Struct, frozen=True, array_like=True, tag="outcome"):
    """What the conductor says at the end. Reads are those of all observers and coordinators."""

    agents: list[AgentKill]
    host: HostKill | None
    leader: LeaderKill | None
    deaths: int
    lookups: int
    finds: int
    dead_handed_out: int
    staleness: Staleness
    etcd: str


def kill_agent(conductor: Conductor, host: Host, name: str) -> AgentKill | None:
    """Kill an agent; None where the other hosts do not all find it, because it has just been started."""
    hosts = _seek(conductor, host, name)
    return None if hosts is None else _kill_sought(conductor, host, name, hosts)


def kill_agent_and_leader(conductor: Conductor, host: Host, name: str) -> tuple[AgentKill, LeaderKill] | None:
    """Kill etcd's leader, and at once an agent: no host can be told of its death before there is another leader."""
    hosts = _seek(conductor, host, name)
    leader = conductor.etcd.leader()
    if hosts is None or leader is None:
        return None
    conductor.note(f"etcd's leader {leader.name} is killed, and {name} on {host.name} at once after it")
    began = time.monotonic()
    leader.kill()
    election = _Election(conductor, began)
    killed = _kill_sought(conductor, host, name, hosts, election)
    conductor.wait(election.is_over, GONE_SECONDS)
    if election.next is None:
        raise DemoFailed(f"etcd has no leader {GONE_SECONDS:g} s after its leader was killed")
    conductor.note(f"etcd's leader is {election.next.name} after {election.seconds:.1f} s")
    return msgspec.structs.replace(killed, without_leader=True), LeaderKill(leader.name, election.seconds)


def kill_host(conductor: Conductor, host: Host, name: str) -> HostKill:
    """Kill the host that leads, and start it again when the others have lost it. `name` is an agent there. Errors:
    `DemoFailed`."""
    others = [one for one in conductor.hosts if one.is_up and one is not host]
    for one in others:
        one.seek(name, host.processes[name])
    if not conductor.wait(lambda: all(one.found for one in others), FIND_SECONDS):
        raise DemoFailed(f"other hosts do not find {name} on {host.name}")
    agents = len(host.agents)
    conductor.note(f"{host.name} is killed, with {agents} agents and the coordinator")
    conductor.leading = ""
    began = time.monotonic()
    host.kill()
    if not conductor.wait(lambda: all(one.gone_at is not None for one in others), GONE_SECONDS):
        raise DemoFailed(f"agents of {host.name} are still found {GONE_SECONDS:g} s after it was killed")
    gone = [one.gone_at - began for one in others if one.gone_at is not None]
    if not conductor.wait(lambda: bool(conductor.leading), GONE_SECONDS):
        raise DemoFailed(f"no coordinator leads {GONE_SECONDS:g} s after {host.name} was killed")
    takeover = time.monotonic() - began
    host.start()
    return HostKill(host.name, agents, gone, conductor.leading, takeover, _wait_for(conductor, host, others))


def _wait_for(conductor: Conductor, host: Host, others: list[Host]) -> float | None:
    """Seconds until the others find an agent of a host that has just been started; None where the job ends before."""
    name = host.agents[0].name
    began = time.monotonic()
    conductor.wait(lambda: name in host.processes or conductor.is_over, RETURN_SECONDS)
    if conductor.is_over:
        return None
    for one in others:
        one.seek(name, host.processes[name])
    conductor.wait(lambda: all(one.found for one in others) or conductor.is_over, RETURN_SECONDS)
    seconds = time.monotonic() - began
    is_back = all(one.found for one in others)
    for one in others:
        one.seek(name, None)
    host.state = "up"
    return seconds if is_back else None


class _Election:
    """Looks for etcd's next leader."""

    def __init__(self, conductor: Conductor, began: float) -> None:
        self._conductor = conductor
        self._began = began
        self.next: Member | None = None
        self.seconds = 0.0

    def is_over(self) -> bool:
        if self.next is None and (found := self._conductor.etcd.leader()) is not None:
            self.next, self.seconds = found, time.monotonic() - self._began
        return self.next is not None


def _seek(conductor: Conductor, host: Host, name: str) -> list[Host] | None:
    """Have all observers look for an agent. The hosts, its own first, if all of them find it."""
    hosts = [host, *(one for one in conductor.hosts if one.is_up and one is not host)]
    for one in hosts:
        one.seek(name, host.processes[name])
    if conductor.wait(lambda: all(one.found for one in hosts), FIND_SECONDS):
        return hosts
    for one in hosts:
        one.seek(name, None)
    return None


def _kill_sought(
    conductor: Conductor, host: Host, name: str, hosts: list[Host], election: _Election | None = None
) -> AgentKill:
    host.killed.pop(name, None)
    host.say(control.Kill(name))

    def is_gone() -> bool:
        if election is not None:
            election.is_over()
        return name in host.killed and all(one.gone_at is not None for one in hosts)

    if not conductor.wait(is_gone, GONE_SECONDS):
        raise DemoFailed(f"{name} on {host.name} is still found {GONE_SECONDS:g} s after SIGKILL")
    # What is known of it is about the process that was killed.
    del host.processes[name]
    host.say(control.Restart(name))
    killed = host.killed[name]
    own, *others = [one.gone_at - killed.sent for one in hosts if one.gone_at is not None]
    return AgentKill(host.name, killed.ended - killed.sent, own, others)
