"""All wiring of the registrar: the one module where its parts are made and connected.

No part makes another, nor a port. `start` brings what it must have before there is anything to connect: lock, log,
clock, failpoints, the open tables with their page, and later the listening socket. From these `build_machine` makes the
other ports, `build_engine` the part that decides, `build_core` those that write, and `build_server` puts sockets and
the loop around them. A simulation calls `build_core` too, with ports and an engine of its own.

A part makes its own private state, and opens what it alone uses: `DeathWatch` its epoll and pidfds, `Bell` its eventfd,
`Generations` the next tables.
"""

import _socket
import os
import select
from pathlib import Path

import msgspec
from msgspec.structs import replace

from .._engine.batch import Death, EndedSession, Kernel
from .._engine.counters import Counters
from .._engine.engine import Engine
from .._engine.free_rows import FreeMemberRows
from .._engine.heartbeats import Heartbeats
from .._engine.memory import Memory
from .._engine.receipts import Receipts
from .._os.death_watch import DeathWatch
from .._os.exit_watch import ExitWatch
from .._os.log import Log
from .._os.yielding import YieldingWait
from .._store import lifelines, tables
from .._store.environment import Environment
from .._store.page import Page
from .._store.tables import Retention
from ..model import Limits, Owner
from .bell import Bell
from .clients import Clients
from .committer import Committer
from .connection import accept
from .generations import Generations
from .hosts import ClusterHosts
from .log_lines import LogLines, client_lines
from .members import Members
from .ports import Clock, Failpoint, Ports
from .postponed_cleanups import PostponedCleanups
from .requests import Requests
from .server import Server
from .sessions import LockedFiles, Sessions
from .survivors import SurvivorSocket
from .tenure import Tenure

# How much of the memory limit the history may take beside the entries, at most.
HISTORY_SHARE = 1 / 8


class Core(msgspec.Struct, frozen=True):
    """The parts that decide and write; none of them knows a socket."""

    committer: Committer
    members: Members
    hosts: ClusterHosts
    generations: Generations
    heartbeats: Heartbeats
    receipts: Receipts
    counters: Counters
    memory: Memory


class Machine(msgspec.Struct, frozen=True):
    """This machine, as the registrar sees it. `kernel` is also in the ports, as far as the core needs it."""

    kernel: DeathWatch
    exits: ExitWatch
    ports: Ports


class SweepResult(msgspec.Struct, frozen=True):
    """What the sweep leaves to the loop: the sessions that entries or standbys are bound to, with their owners, and the
    deaths and ended sessions for whose cleanup there was no room."""

    sessions: dict[bytes, Owner]
    deaths: list[Death]
    ended: list[EndedSession]


def build_machine(folder: Path, page: Page, clock: Clock, failpoint: Failpoint, log: Log) -> Machine:
    """The ports that a registrar of this folder has."""
    exits = ExitWatch()
    kernel = DeathWatch(exits, lambda owner: lifelines.is_intact(page.board.lifelines, owner))
    return Machine(kernel, exits, Ports(kernel, LockedFiles(folder), clock, failpoint, log))


def build_engine(environment: Environment, limits: Limits, kernel: Kernel) -> Engine:
    """The engine, with an empty memory: the sweep fills it."""
    salt = int.from_bytes(os.urandom(6), "little") or 1
    return Engine(limits, kernel, Memory(FreeMemberRows(salt)), tables.node_of(environment))


def build_core(
    environment: Environment,
    page: Page,
    limits: Limits,
    engine: Engine,
    ports: Ports,
    retention: Retention,
) -> Core:
    """Take up the tables where the last registrar left them."""
    clock, log, memory = ports.clock, ports.log, engine.memory
    generations = Generations(environment, page, limits, ports)
    with tables.read(environment) as stored:
        receipts = Receipts(stored.receipts(), clock.monotonic_ns())
        counters = Counters(stored.stats())
        entries, revision = stored.entries, stored.revision
    page.revision, page.entries = revision, entries
    heartbeats = Heartbeats(limits, page.board.rows.last_heartbeat)
    members = Members(page, generations, heartbeats, memory.free_rows, clock, log)
    hosts = ClusterHosts(memory.hosts, page.board.host_words(clock.boottime_ns))
    history_bytes = min(retention.history_bytes, HISTORY_SHARE * limits.max_memory_bytes)
    committer = Committer(
        generations,
        page,
        engine,
        ports,
        members=members,
        hosts=hosts,
        receipts=receipts,
        counters=counters,
        log_lines=LogLines(log, clock),
        retention=replace(retention, history_bytes=history_bytes),
        entries=entries,
    )
    return Core(committer, members, hosts, generations, heartbeats, receipts, counters, memory)


def build_server(
    core: Core,
    page: Page,
    limits: Limits,
    machine: Machine,
    listener: _socket.socket,
    lock: int,
    survivors: SurvivorSocket,
    swept: SweepResult,
) -> Server:
    """The loop around the core, and what the sweep found for it."""
    ports, generations = machine.ports, core.generations
    epoll, bell = select.epoll(), Bell()
    requests, sessions = Requests(limits.max_pending), Sessions(ports.session_files)
    clients = Clients(
        listener,
        epoll,
        accept=accept,
        requests=requests,
        sessions=sessions,
        receipts=core.receipts,
        counters=core.counters,
        bell=bell,
        registration_timeout=limits.registration_timeout,
        most=machine.kernel.capacity,
        ports=ports,
        lines=client_lines(ports.log, ports.clock),
    )
    sessions.inherit(swept.sessions)
    sessions.check_inherited(clients)
    return Server(
        epoll,
        wake=os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK),
        awake=YieldingWait(ports.clock.monotonic),
        kernel=machine.kernel,
        exits=machine.exits,
        sessions=sessions,
        requests=requests,
        heartbeats=core.heartbeats,
        committer=core.committer,
        members=core.members,
        hosts=core.hosts,
        receipts=core.receipts,
        clients=clients,
        bell=bell,
        generations=generations,
        tenure=Tenure(generations.current.folder, lock, page, generations),
        survivors=survivors,
        postponed=PostponedCleanups(swept.deaths, swept.ended),
        limits=limits,
        ports=ports,
    )
