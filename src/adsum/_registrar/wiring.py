"""All wiring of the registrar: the one place where its parts are made and connected.

No part makes another. `build_core` makes those that decide and write; a simulation calls it too, with a clock, a kernel
and failpoints of its own. `build_server` puts sockets and the loop around them.
"""

import _socket
import select

import msgspec
from msgspec.structs import replace

from .._engine.claimers import Claimers
from .._engine.counters import Counters
from .._engine.dependants import Dependants
from .._engine.engine import Engine
from .._engine.heartbeats import Heartbeats
from .._engine.receipts import Receipts
from .._os.death_watch import DeathWatch
from .._os.exit_watch import ExitWatch
from .._store import tables
from .._store.environment import Environment
from .._store.page import Page
from .._store.tables import Retention
from ..model import Limits, Owner
from .bell import Bell
from .clients import Clients
from .committer import Committer
from .generations import Generations
from .hosts import ClusterHosts
from .ports import Ports
from .postponed import Postponed
from .requests import Requests
from .server import Server
from .sessions import Sessions
from .tenure import Tenure

# How much of the memory limit the history may take beside the entries, at most.
HISTORY_SHARE = 1 / 8


class Core(msgspec.Struct, frozen=True):
    """The parts that decide and write; none of them knows a socket."""

    committer: Committer
    hosts: ClusterHosts
    generations: Generations
    heartbeats: Heartbeats
    receipts: Receipts
    counters: Counters
    claimers: Claimers
    dependants: Dependants


class Swept(msgspec.Struct, frozen=True):
    """What the sweep leaves to the loop: the sessions that entries or standbys are bound to, with their owners, and the
    cleanup for which there was no room."""

    sessions: dict[bytes, Owner]
    postponed: Postponed


def build_core(
    environment: Environment,
    page: Page,
    limits: Limits,
    engine: Engine,
    ports: Ports,
    retention: Retention,
) -> Core:
    """Take up the tables where the last registrar left them."""
    generations = Generations(environment, page, limits, ports)
    with tables.read(environment) as stored:
        receipts = Receipts(stored.receipts(), ports.clock.monotonic_ns())
        counters = Counters(stored.stats())
        entries, revision = stored.entries, stored.revision
    page.revision, page.entries = revision, entries
    heartbeats = Heartbeats(limits, page.board.rows.last_heartbeat)
    history_bytes = min(retention.history_bytes, HISTORY_SHARE * limits.max_memory_bytes)
    hosts = ClusterHosts(engine.hosts, page.board.host_words(ports.clock.boottime_ns))
    committer = Committer(
        generations,
        page,
        engine,
        ports,
        hosts=hosts,
        heartbeats=heartbeats,
        receipts=receipts,
        counters=counters,
        retention=replace(retention, history_bytes=history_bytes),
        entries=entries,
    )
    return Core(committer, hosts, generations, heartbeats, receipts, counters, engine.claimers, engine.dependants)


def build_server(
    core: Core,
    limits: Limits,
    kernel: DeathWatch,
    exits: ExitWatch,
    listener: _socket.socket,
    tenure: Tenure,
    swept: Swept,
    ports: Ports,
) -> Server:
    """The loop around the core, and what the sweep found for it."""
    epoll, bell = select.epoll(), Bell()
    requests, sessions = Requests(limits.max_pending), Sessions(ports.session_files)
    clients = Clients(
        listener,
        epoll,
        requests=requests,
        sessions=sessions,
        receipts=core.receipts,
        counters=core.counters,
        bell=bell,
        registration_timeout=limits.registration_timeout,
        most=kernel.capacity,
        ports=ports,
    )
    sessions.inherit(swept.sessions)
    sessions.check_inherited(clients)
    return Server(
        epoll,
        kernel=kernel,
        exits=exits,
        sessions=sessions,
        requests=requests,
        heartbeats=core.heartbeats,
        committer=core.committer,
        hosts=core.hosts,
        receipts=core.receipts,
        clients=clients,
        bell=bell,
        generations=core.generations,
        tenure=tenure,
        postponed=swept.postponed,
        limits=limits,
        ports=ports,
    )
