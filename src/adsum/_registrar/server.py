"""The registrar's loop: one thread, one epoll, over sockets, deaths and timers.

Each turn takes what is ready, decides and commits it together, and answers. The batch is whatever had arrived, so a
lone request waits for nobody and a storm pays for one commit per batch. What clients can cost is bounded: requests that
wait (`Limits.max_pending`, and each client's share of them), bytes that came in, replies that are not read, connections
that never introduce themselves.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from .. import _wire as wire
from .._os import identity
from .._os import session as session_files
from .._os.liveness import DeathWatch
from ..errors import AdsumError, PermissionDenied, SystemBusy, VersionMismatch, WrongNamespace
from ..model import Owner
from .committer import Answer, Committer
from .connection import CLOGGED_SECONDS, HELLO_SECONDS, READ_BYTES, Connection
from .engine import Batch, Call, Death
from .failpoints import reach

log = logging.getLogger("adsum.registrar")

MAX_BATCH = 512
MAX_WAITING = 256
MAX_BUFFERED_BYTES = 64 * 1024 * 1024
TICK_SECONDS = 1.0
AWAKE_SECONDS = 0.0001


class Server:
    """Serves one registry until `stop` is called or it has been idle for `Limits.linger`."""

    def __init__(
        self,
        listener: socket.socket,
        committer: Committer,
        kernel: DeathWatch,
        still_ours: Callable[[], bool],
        folder: Path,
    ) -> None:
        self.folder = folder
        self.listener = listener
        self.committer = committer
        self.kernel = kernel
        self.still_ours = still_ours
        self.limits = committer.limits
        self.connections: dict[int, Connection] = {}
        self.by_session: dict[bytes, Connection] = {}
        self.bound_sessions: set[bytes] = set()
        self.inherited: dict[bytes, Owner] = {}
        self.paused: set[Connection] = set()
        self.queue: deque[tuple[Connection, wire.AnyRequest, int]] = deque()
        self.queued_bytes = 0
        self.ended: list[tuple[Owner, bytes]] = []
        self.most_connections = kernel.capacity
        self.awake_until = self.idle_since = self.last_tick = self.retry_deaths_at = 0.0
        self.last_commits = 0
        self.stopping = False
        self.epoll = select.epoll()
        listener.setblocking(False)
        self.epoll.register(listener, select.EPOLLIN)
        self.epoll.register(kernel, select.EPOLLIN)
        self.wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.epoll.register(self.wake, select.EPOLLIN)

    def inherit(self, sessions: dict[bytes, Owner]) -> None:
        """Entries live in these sessions, which knew an earlier registrar and may have ended since."""
        self.bound_sessions = set(sessions)
        self.inherited = sessions
        self._check_inherited()

    def run(self) -> str:
        """Serve; returns why it ended: ``stopped``, ``idle`` or ``evicted`` (the folder is not ours any more)."""
        self.idle_since = time.monotonic()
        while not self.stopping:
            self._turn()
            now = time.monotonic()
            if now - self.last_tick >= self._tick_seconds():
                self.last_tick = now
                if not self.still_ours():
                    return "evicted"
                self._tick(now)
            if self._idle(now):
                return "idle"
        return "stopped"

    def stop(self) -> None:
        """Leave after this turn; safe in a signal handler. A signal alone does not end a wait in epoll (PEP 475)."""
        self.stopping = True
        os.eventfd_write(self.wake, 1)

    def close(self) -> None:
        for connection in list(self.connections.values()):
            connection.close()
        self.listener.close()
        self.epoll.close()
        os.close(self.wake)

    # One turn

    def _turn(self) -> None:
        died = False
        for fd, mask in self._ready():
            if fd == self.listener.fileno():
                self._accept()
            elif fd == self.kernel.fileno():
                died = True
            elif (connection := self.connections.get(fd)) is not None:
                self._serve(connection, mask)
        self._work(self._deaths() if died else [])
        self._resume()

    def _ready(self) -> list[tuple[int, int]]:
        """What can be done now. Waking a sleeping processor takes as long as a commit, and who has just been answered
        often asks again; so after an answer the loop looks for a moment longer, out of the way of others, and then
        sleeps."""
        if not self.queue:
            while time.monotonic() < self.awake_until:
                if ready := self.epoll.poll(0, 1024):
                    return ready
                os.sched_yield()
        return self.epoll.poll(0 if self.queue else self._tick_seconds(), 1024)

    def _deaths(self) -> list[Death]:
        noticed = time.monotonic_ns()
        return [Death(owner, noticed) for owner in self.kernel.deaths()]

    def _work(self, deaths: list[Death]) -> None:
        calls: list[Call] = []
        while self.queue and len(calls) < MAX_BATCH:
            connection, request, size = self.queue.popleft()
            self.queued_bytes -= size
            connection.waiting -= 1
            # Whoever closed the connection has stopped waiting, and takes the request for not carried out.
            if not connection.closed and connection.session is not None:
                calls.append(Call(connection.session, request))
        ended, self.ended = self.ended, []
        if not (deaths or calls or ended):
            return
        try:
            answers = self.committer.commit(Batch(deaths, ended, calls))
        except AdsumError as error:
            log.error("a batch could not be committed: %s", error)
            answers = self.committer.fail(calls, error)
            self.ended = ended
            # The dead stay readable in their epoll; waiting for it now would spin.
            self.epoll.modify(self.kernel, 0)
            self.retry_deaths_at = time.monotonic() + self.limits.cleanup_window / 2
        self._reply(answers)
        self.awake_until = time.monotonic() + AWAKE_SECONDS

    def _reply(self, answers: list[Answer]) -> None:
        """Send the answers, to each client all of its own at once."""
        outgoing: dict[bytes, list[Answer]] = {}
        for answer in answers:
            outgoing.setdefault(answer.call.session, []).append(answer)
        for session, own in outgoing.items():
            if any(isinstance(a.call.request, wire.Register) and a.call.request.bound and a.kept for a in own):
                self.bound_sessions.add(session)
            connection = self.by_session.get(session)
            if connection is not None and self._send(connection, b"".join([answer.data for answer in own])):
                for answer in own:
                    self.committer.receipts.sent(session, answer.call.request.number)
            reach("replying")

    # Clients

    def _accept(self) -> None:
        for _ in range(64):
            try:
                sock, _ = self.listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # Out of descriptors: leave callers in the backlog until the next tick.
                log.warning("cannot accept a client: %s", error)
                self.epoll.modify(self.listener, 0)
                return
            sock.setblocking(False)
            connection = Connection(sock, time.monotonic_ns())
            if len(self.connections) >= self.most_connections:
                self._refuse(
                    connection, SystemBusy("the registrar has as many clients as it can take; try again later")
                )
                continue
            self.connections[connection.fd] = connection
            self.epoll.register(sock, select.EPOLLIN | select.EPOLLRDHUP)

    def _serve(self, connection: Connection, mask: int) -> None:
        with self._dropping(connection):
            if mask & select.EPOLLOUT and connection.flush() and connection.session is not None:
                self.committer.receipts.drained(connection.session)
            if connection in self.paused:
                if mask & (select.EPOLLHUP | select.EPOLLERR):
                    raise ConnectionResetError("closed by the client")
            elif mask & ~select.EPOLLOUT:
                connection.read()
                self._take_frames(connection)

    @contextlib.contextmanager
    def _dropping(self, connection: Connection) -> Iterator[None]:
        """Whatever a client does wrong ends its connection and nothing else."""
        try:
            yield
        except ConnectionResetError:
            # The client has left, and takes what it did not hear for not done.
            if connection.session is not None:
                self.committer.receipts.drained(connection.session)
            self._forget(connection)
        except OSError as error:
            self._drop(connection, str(error))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            # Whatever bytes can do to a decoder, invalid UTF-8 and endless nesting included.
            self._drop(connection, f"sent what is no message: {error}")

    def _take_frames(self, connection: Connection) -> None:
        """Queue what has come in whole, as long as the client does not ask for more than its share."""
        for frame in connection.frames:
            if connection.session is None:
                self._greet(connection, wire.decode_hello(frame))
            else:
                self._take(connection, wire.decode_request(frame), len(frame))
            if connection.closed:
                return
            if connection.waiting >= MAX_WAITING:
                self._pause(connection)
                break
        if len(connection.frames) > READ_BYTES and self._buffered() > MAX_BUFFERED_BYTES:
            raise ConnectionAbortedError("the half-sent frames of all clients together are too large")

    def _buffered(self) -> int:
        return sum(len(connection.frames) for connection in self.connections.values())

    def _pause(self, connection: Connection) -> None:
        """Read no more from a client until it has read its replies and its requests are done."""
        self.paused.add(connection)
        connection.clogged_since = time.monotonic_ns()
        self.epoll.modify(connection.fd, select.EPOLLOUT if connection.clogged else 0)

    def _resume(self) -> None:
        for connection in [c for c in self.paused if not c.clogged and c.waiting < MAX_WAITING // 2]:
            self.paused.discard(connection)
            with self._dropping(connection):
                self.epoll.modify(connection.fd, select.EPOLLIN | select.EPOLLRDHUP)
                self._take_frames(connection)

    def _greet(self, connection: Connection, hello: wire.Hello) -> None:
        refusal = self._refusal(connection, hello)
        if refusal is not None:
            self._refuse(connection, refusal)
            self._forget(connection)
            return
        connection.session, connection.owner = hello.session, hello.owner
        if (older := self.by_session.get(hello.session)) is not None:
            self._forget(older)
        self.by_session[hello.session] = connection
        self._send(connection, wire.frame(wire.Welcome(wire.VERSION, self.limits.registration_timeout)))

    def _refusal(self, connection: Connection, hello: wire.Hello) -> AdsumError | None:
        if connection.peer_uid != os.geteuid():
            return PermissionDenied(
                f"this registry belongs to user {os.geteuid()}, not {connection.peer_uid}; use a registry of your own"
            )
        if hello.version != wire.VERSION:
            return VersionMismatch(
                f"the registrar speaks protocol {wire.VERSION}, this client {hello.version}; use one version of adsum "
                "for all processes on this registry, and restart the registrar after an upgrade"
            )
        if hello.pid_namespace != identity.pid_namespace():
            return WrongNamespace(
                "the registrar runs in another PID namespace, where process numbers mean other processes; run in that "
                "namespace, or open a registry of your own"
            )
        return None

    def _take(self, connection: Connection, request: wire.AnyRequest, size: int) -> None:
        session = connection.session or b""
        receipt = self.committer.receipts.claim(session, request.number)
        if receipt is not None:
            if self._send(connection, receipt):
                self.committer.receipts.sent(session, request.number)
        elif len(self.queue) >= self.limits.max_pending or self.queued_bytes > MAX_BUFFERED_BYTES:
            self.committer.counters.count(SystemBusy.reason)
            busy = SystemBusy(f"{len(self.queue)} requests are waiting already; nothing was changed, try again later")
            self._send(connection, wire.frame(wire.failure(request.number, busy)))
        else:
            self.queue.append((connection, request, size))
            self.queued_bytes += size
            connection.waiting += 1

    def _send(self, connection: Connection, data: bytes) -> bool:
        """Whether all of it went out; what did not will, when the client reads."""
        if connection.closed:
            return False
        try:
            if connection.send(data):
                return True
            self._pause(connection)
        except OSError as error:
            self._drop(connection, str(error))
        return False

    def _refuse(self, connection: Connection, error: AdsumError) -> None:
        try:
            connection.send(wire.frame(wire.failure(0, error)))
        except OSError:
            log.info("a client left before it was refused")
        connection.close()

    def _drop(self, connection: Connection, why: str) -> None:
        if self.connections.get(connection.fd) is connection:
            log.info("client dropped: %s", why)
            if connection.session is not None:
                self.committer.receipts.orphaned(connection.session, time.monotonic_ns())
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        """A connection is over. What lived inside its session has ended with it."""
        self.connections.pop(connection.fd, None)
        self.paused.discard(connection)
        connection.close()
        session = connection.session
        if session is not None and self.by_session.get(session) is connection:
            del self.by_session[session]
            if session in self.bound_sessions and connection.owner is not None:
                self._end(session, connection.owner)

    def _end(self, session: bytes, owner: Owner) -> None:
        self.bound_sessions.discard(session)
        self.inherited.pop(session, None)
        self.ended.append((owner, session))
        session_files.forget(self.folder, session)

    def _check_inherited(self) -> None:
        """Sessions that did not come back: the kernel knows whether somebody still holds them."""
        for session, owner in list(self.inherited.items()):
            if session not in self.by_session and session_files.is_over(self.folder, session):
                self._end(session, owner)

    # Time

    def _tick_seconds(self) -> float:
        if self.ended:
            return 0.0
        return self.limits.cleanup_window / 3 if self.kernel.scanned or self.retry_deaths_at else TICK_SECONDS

    def _tick(self, now: float) -> None:
        self.epoll.modify(self.listener, select.EPOLLIN)
        if self.retry_deaths_at and now >= self.retry_deaths_at:
            self.retry_deaths_at = 0.0
            self.epoll.modify(self.kernel, select.EPOLLIN)
        if self.kernel.scanned:
            noticed = time.monotonic_ns()
            self._work([Death(owner, noticed) for owner in self.kernel.scan()])
        self._drop_the_slow(time.monotonic_ns())
        self._check_inherited()
        if self.committer.commits != self.last_commits:
            self.last_commits = self.committer.commits
            self.committer.check_readers()
        self.committer.receipts.expire(time.monotonic_ns())
        try:
            self.committer.keep_stats(len(self.queue))
        except AdsumError as error:
            log.warning("the statistics could not be kept: %s", error)

    def _drop_the_slow(self, now: int) -> None:
        silent = now - int(HELLO_SECONDS * 1e9)
        for connection in [c for c in self.connections.values() if c.session is None and c.since < silent]:
            self._drop(connection, "never introduced itself")
        clogged = now - int(CLOGGED_SECONDS * 1e9)
        for connection in [c for c in self.paused if c.clogged and c.clogged_since < clogged]:
            self._drop(connection, "does not read its replies")

    def _idle(self, now: float) -> bool:
        if self.connections or self.queue or self.committer.entries:
            self.idle_since = now
        return now - self.idle_since >= self.limits.linger
