"""The registrar's clients: from their first byte to the last reply that they read.

A client connects, introduces itself (`Hello`), and from then on asks. What it asks for goes to `requests`, where the
loop takes batches of it; the replies come back here to be sent. That it has left goes to `sessions`. So this module
knows sockets and who is behind them, and not what a request does; the loop knows batches, and no client's socket.

Clients are strangers: they may be slow, broken, stopped or many. Two rules follow. Whatever one of them does wrong ends
its own connection and nothing else. And whatever it can pile up has a bound: requests that wait, bytes that came in,
replies that are not read, connections that never introduce themselves. Where a client can be held up it is paused: its
socket is not read, so it fills, and the kernel makes the client wait. Where it cannot, it is refused or dropped.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import time
from collections.abc import Iterator

import msgspec

from .. import _wire as wire
from ..errors import AdsumError, SystemBusy
from .bell import Bell
from .committer import Answer, Committer
from .connection import CLOGGED_SECONDS, HELLO_SECONDS, MAX_BUFFERED_BYTES, READ_BYTES, Connection
from .failpoints import failpoint
from .handshake import refusal
from .requests import Requests
from .sessions import Sessions

log = logging.getLogger("adsum.registrar")

MAX_WAITING = 256
ACCEPT_AT_ONCE = 64


class Clients:
    """Everybody who is connected, at most `most` at a time.

    Their sockets and the listener are waited for in the loop's `epoll`; what happens at them comes to `ready`. The
    answers to a batch come to `reply`, and `resume` ends the turn.
    """

    def __init__(
        self,
        listener: socket.socket,
        epoll: select.epoll,
        requests: Requests,
        sessions: Sessions,
        committer: Committer,
        bell: Bell,
        most: int,
    ) -> None:
        self._listener = listener
        self._epoll = epoll
        self._requests = requests
        self._sessions = sessions
        self._timeout = committer.limits.registration_timeout
        self._counters = committer.counters
        self._receipts = committer.receipts
        self._bell = bell
        self._most = most
        self._connections: dict[int, Connection] = {}
        self._by_session: dict[bytes, Connection] = {}
        self._paused: set[Connection] = set()
        listener.setblocking(False)
        epoll.register(listener, select.EPOLLIN)

    def __len__(self) -> int:
        return len(self._connections)

    def __contains__(self, session: object) -> bool:
        """Whether the client of this session is connected."""
        return session in self._by_session

    def close(self) -> None:
        for connection in list(self._connections.values()):
            connection.close()
        self._listener.close()

    # What the loop asks for

    def ready(self, fd: int, mask: int) -> None:
        """Something can be done at this descriptor: the listener's, a client's, or one that is closed by now."""
        if fd == self._listener.fileno():
            self._accept()
        elif (connection := self._connections.get(fd)) is not None:
            self._serve(connection, mask)

    def reply(self, answers: list[Answer]) -> None:
        """Send the answers, to each client all of its own at once."""
        outgoing: dict[bytes, list[Answer]] = {}
        for answer in answers:
            outgoing.setdefault(answer.call.session, []).append(answer)
        for session, own in outgoing.items():
            if any(answer.binds for answer in own):
                self._sessions.bind(session)
            connection = self._by_session.get(session)
            if connection is not None and self._send(connection, b"".join([answer.data for answer in own])):
                for answer in own:
                    self._receipts.sent(session, answer.call.number)
            elif connection is None:
                # Somebody who stood by, between two registrars: it will come and ask.
                self._receipts.orphaned(session, time.monotonic_ns())
            failpoint("replying")

    def resume(self) -> None:
        """Read again from those who have read their replies and whose requests are done."""
        for connection in [c for c in self._paused if not c.clogged and c.waiting < MAX_WAITING // 2]:
            self._paused.discard(connection)
            with self._dropping(connection):
                self._epoll.modify(connection.fd, select.EPOLLIN | select.EPOLLRDHUP)
                self._take_frames(connection)

    def accept_again(self) -> None:
        """Some time has passed: there may be descriptors again for those who wait in the backlog."""
        self._epoll.modify(self._listener, select.EPOLLIN)

    def drop_the_slow(self, now: int) -> None:
        silent = now - int(HELLO_SECONDS * 1e9)
        for connection in [c for c in self._connections.values() if c.session is None and c.since < silent]:
            self._drop(connection, "never introduced itself")
        clogged = now - int(CLOGGED_SECONDS * 1e9)
        for connection in [c for c in self._paused if c.clogged and c.clogged_since < clogged]:
            self._drop(connection, "does not read its replies")

    # What comes in

    def _accept(self) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # Out of descriptors: leave callers in the backlog until the next tick.
                log.warning("cannot accept a client: %s", error)
                self._epoll.modify(self._listener, 0)
                return
            sock.setblocking(False)
            connection = Connection(sock, time.monotonic_ns())
            if len(self._connections) >= self._most:
                _refuse(connection, SystemBusy("the registrar has as many clients as it can take; try again later"))
                continue
            self._connections[connection.fd] = connection
            self._epoll.register(sock, select.EPOLLIN | select.EPOLLRDHUP)

    def _serve(self, connection: Connection, mask: int) -> None:
        with self._dropping(connection):
            if mask & select.EPOLLOUT and connection.flush() and connection.session is not None:
                self._receipts.drained(connection.session)
            if connection in self._paused:
                if mask & (select.EPOLLHUP | select.EPOLLERR):
                    raise ConnectionResetError("closed by the client")
            elif mask & (select.EPOLLRDHUP | select.EPOLLHUP):
                # It has stopped waiting; what it asked for last it takes for not done.
                raise ConnectionResetError("closed by the client")
            elif mask & ~select.EPOLLOUT:
                connection.read()
                self._take_frames(connection)

    def _take_frames(self, connection: Connection) -> None:
        """Take up what has come in whole, as long as the client does not ask for more than its share."""
        for frame in connection.frames:
            if connection.session is None:
                self._greet(connection, wire.decode_hello(frame))
            else:
                self._take_request(connection, connection.session, wire.decode_envelope(frame), len(frame))
            if connection.closed:
                return
            if connection.waiting >= MAX_WAITING:
                self._pause(connection)
                break
        if len(connection.frames) > READ_BYTES and self._buffered() > MAX_BUFFERED_BYTES:
            raise ConnectionAbortedError("the half-sent frames of all clients together are too large")

    def _buffered(self) -> int:
        return sum(len(connection.frames) for connection in self._connections.values())

    def _greet(self, connection: Connection, hello: wire.Hello) -> None:
        error = refusal(hello, connection.peer_uid)
        if error is not None:
            _refuse(connection, error)
            self._forget(connection)
            return
        connection.session, connection.owner = hello.session, hello.owner
        if (older := self._by_session.get(hello.session)) is not None:
            self._forget(older)
        self._by_session[hello.session] = connection
        self._send(connection, wire.frame(wire.Welcome(wire.VERSION, self._timeout)))

    def _take_request(self, connection: Connection, session: bytes, envelope: wire.Envelope, size: int) -> None:
        receipt = self._receipts.claim(session, envelope.number)
        if receipt is not None:
            if self._send(connection, receipt):
                self._receipts.sent(session, envelope.number)
        elif isinstance(envelope.request, wire.Listen):
            self._hand_over_bell(connection, envelope.number)
        elif self._requests.full:
            self._counters.count(SystemBusy.reason)
            waiting = len(self._requests)
            busy = SystemBusy(f"{waiting} requests are waiting already; nothing was changed, try again later")
            self._send(connection, wire.frame(wire.failure(envelope.number, busy)))
        else:
            self._requests.add(connection, envelope, size)

    def _hand_over_bell(self, connection: Connection, number: int) -> None:
        reply = wire.frame(wire.Done(number, [], changed=False))
        connection.hand_over(reply, self._bell.descriptor)
        self._bell.listeners += not connection.listens
        connection.listens = True

    # What goes out

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

    def _pause(self, connection: Connection) -> None:
        """Read no more from a client until it has read its replies and its requests are done."""
        self._paused.add(connection)
        connection.clogged_since = time.monotonic_ns()
        self._epoll.modify(connection.fd, select.EPOLLOUT if connection.clogged else 0)

    # How it ends

    @contextlib.contextmanager
    def _dropping(self, connection: Connection) -> Iterator[None]:
        """Whatever a client does wrong ends its connection and nothing else."""
        try:
            yield
        except ConnectionResetError:
            # The client has left, and takes what it did not hear for not done.
            if connection.session is not None:
                self._receipts.drained(connection.session)
            self._forget(connection)
        except OSError as error:
            self._drop(connection, str(error))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            # Whatever bytes can do to a decoder, invalid UTF-8 and endless nesting included.
            self._drop(connection, f"sent what is no message: {error}")

    def _drop(self, connection: Connection, why: str) -> None:
        if self._connections.get(connection.fd) is connection:
            log.info("client dropped: %s", why)
            if connection.session is not None:
                self._receipts.orphaned(connection.session, time.monotonic_ns())
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        if self._connections.pop(connection.fd, None) is connection and connection.listens:
            self._bell.listeners -= 1
        self._paused.discard(connection)
        connection.close()
        session = connection.session
        if session is not None and self._by_session.get(session) is connection:
            del self._by_session[session]
            if connection.owner is not None:
                self._sessions.disconnected(session, connection.owner)


def _refuse(connection: Connection, error: AdsumError) -> None:
    try:
        connection.send(wire.frame(wire.failure(0, error)))
    except OSError:
        log.info("a client left before it was refused")
    connection.close()
