"""The registrar's clients: from their first byte to the last reply that they read.

A client connects, introduces itself (`Hello`), and from then on sends requests. They go to the backlog, `requests`; the
loop takes batches of them from here, and the replies come back here to be sent. The end of a connection goes to
`sessions`. So this module knows sockets and the clients behind them, and not what a request does; the loop knows
batches, and no client's socket.

Clients are strangers: they may be slow, broken, stopped or many. Two rules follow. A client that does something wrong
fails its own call, or ends its own connection, and nothing else. And all that a client can pile up has a bound:
requests in the backlog, bytes that came in, replies that are not read, connections without a `Hello`. Where
back-pressure helps, a client is paused: its socket is not read, so it fills, and the kernel makes the client wait.
Where it does not, the client is refused or dropped.
"""

from __future__ import annotations

import _socket
import contextlib
import select
from collections.abc import Iterator

import msgspec

from .. import _wire as wire
from .._engine.batch import Call
from .._engine.counters import Counters
from .._engine.receipts import Receipts
from ..errors import AdsumError, SystemBusy
from .bell import Bell
from .connection import CLOGGED_SECONDS, HELLO_SECONDS, MAX_BUFFERED_BYTES, Accept, AcceptedConnection
from .handshake import refusal
from .log_lines import BoundedLines, quoted
from .ports import Ports
from .replies import OutgoingReply
from .requests import Requests
from .sessions import Sessions

MAX_WAITING = 256
ACCEPT_AT_ONCE = 64


class Clients:
    """Every connected client, at most `most` at a time.

    Their sockets and the listener are in the loop's `epoll`; the loop passes their events to `ready`, and the replies
    to a batch to `reply`; `resume` ends its turn. `accept` gives the connection of the next client, and a welcome names
    the `registration_timeout`.
    """

    def __init__(
        self,
        listener: _socket.socket,
        epoll: select.epoll,
        *,
        accept: Accept,
        requests: Requests,
        sessions: Sessions,
        receipts: Receipts,
        counters: Counters,
        bell: Bell,
        registration_timeout: float,
        most: int,
        ports: Ports,
        lines: BoundedLines,
    ) -> None:
        self._listener = listener
        self._epoll = epoll
        self._accept_next = accept
        self._requests = requests
        self._sessions = sessions
        self._receipts = receipts
        self._counters = counters
        self._bell = bell
        self._registration_timeout = registration_timeout
        self._most = most
        self._clock, self._failpoint, self._log = ports.clock, ports.failpoint, ports.log
        self._lines = lines
        self._connections: dict[int, AcceptedConnection] = {}
        self._by_session: dict[bytes, AcceptedConnection] = {}
        self._paused: set[AcceptedConnection] = set()
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

    # The loop

    def ready(self, fd: int, mask: int) -> None:
        """An event came from this descriptor: the listener's, a client's, or one that is closed by now."""
        if fd == self._listener.fileno():
            self._accept()
        elif (connection := self._connections.get(fd)) is not None:
            self._serve(connection, mask)

    def calls(self, most: int) -> list[Call]:
        """The next requests of the backlog, except those of clients that have closed their connections: such a client
        takes its requests for not carried out."""
        return [
            Call(connection.session, envelope.number, envelope.deadline, envelope.request, connection.owner)
            for connection, envelope in self._requests.take(most)
            if not connection.closed and connection.session is not None
        ]

    def reply(self, replies: list[OutgoingReply]) -> None:
        """Send the replies, to each client all of its own at once."""
        outgoing: dict[bytes, list[OutgoingReply]] = {}
        for reply in replies:
            outgoing.setdefault(reply.session, []).append(reply)
        for session, own in outgoing.items():
            if True in [reply.binds for reply in own]:
                self._sessions.bind(session)
            connection = self._by_session.get(session)
            if connection is None:
                # A standby that has not come back since the last registrar ended: it will ask.
                self._receipts.cut_off(session, self._clock.monotonic_ns())
            else:
                data = b"".join([reply.data for reply in own])
                self._send_kept(connection, session, [reply.number for reply in own], data)
            self._failpoint("replying")

    def resume(self) -> None:
        """Read again from paused clients that have read their replies and whose requests are done."""
        for connection in [c for c in self._paused if not c.clogged and c.waiting < MAX_WAITING // 2]:
            self._paused.discard(connection)
            with self._dropping(connection):
                self._epoll.modify(connection.fd, select.EPOLLIN | select.EPOLLRDHUP)
                self._take_frames(connection)

    def accept_again(self) -> None:
        """Some time has passed: there may be descriptors again for clients in the listener's backlog."""
        self._epoll.modify(self._listener, select.EPOLLIN)

    def drop_the_slow(self, now: int) -> None:
        silent = now - int(HELLO_SECONDS * 1e9)
        for connection in [c for c in self._connections.values() if c.session is None and c.since < silent]:
            self._drop(connection, "sent no hello in time")
        clogged = now - int(CLOGGED_SECONDS * 1e9)
        for connection in [c for c in self._paused if c.clogged and c.clogged_since < clogged]:
            self._drop(connection, "does not read its replies")

    # Incoming

    def _accept(self) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            try:
                connection = self._accept_next(self._listener, self._clock.monotonic_ns())
            except BlockingIOError:
                return
            except OSError as error:
                # Out of descriptors: leave clients in the backlog until the next tick.
                self._log.warning("cannot accept a client: %s", error)
                self._epoll.modify(self._listener, 0)
                return
            if len(self._connections) >= self._most:
                self._refuse(
                    connection, SystemBusy("the registrar has as many clients as it can take; try again later")
                )
                continue
            try:
                self._epoll.register(connection.fd, select.EPOLLIN | select.EPOLLRDHUP)
            except OSError as error:
                # No memory, or the user's bound on watches is reached (fs.epoll.max_user_watches, epoll(7)).
                self._log.warning("cannot watch a client: %s", error)
                self._refuse(
                    connection, SystemBusy(f"the registrar can watch no further client now ({error}); try again")
                )
                continue
            self._connections[connection.fd] = connection

    def _serve(self, connection: AcceptedConnection, mask: int) -> None:
        with self._dropping(connection):
            if mask & select.EPOLLOUT and connection.flush() and connection.session is not None:
                self._note_sent(connection, connection.session)
            if connection in self._paused:
                if mask & (select.EPOLLHUP | select.EPOLLERR):
                    raise ConnectionResetError("closed by the client")
            elif mask & (select.EPOLLRDHUP | select.EPOLLHUP):
                # It has stopped waiting, and takes its last requests for not carried out.
                raise ConnectionResetError("closed by the client")
            elif mask & ~select.EPOLLOUT:
                connection.read()
                self._take_frames(connection)

    def _take_frames(self, connection: AcceptedConnection) -> None:
        """Take up the frames that are complete, as long as the client keeps to its share of the backlog."""
        for frame in connection.frames:
            if connection.session is None:
                self._welcome(connection, wire.decode_hello(frame))
            else:
                self._take_envelope(connection, connection.session, frame)
            if connection.closed:
                return
            if connection.waiting >= MAX_WAITING:
                self._pause(connection)
                break
        if len(connection.frames) > wire.READ_BYTES and self._buffered() > MAX_BUFFERED_BYTES:
            raise ConnectionAbortedError("the half-sent frames of all clients together are too large")

    def _buffered(self) -> int:
        return sum(len(connection.frames) for connection in self._connections.values())

    def _welcome(self, connection: AcceptedConnection, hello: wire.Hello) -> None:
        error = refusal(hello, connection.peer_uid)
        if error is not None:
            self._refuse(connection, error)
            self._forget(connection)
            return
        connection.session, connection.owner = hello.session, hello.owner
        if (older := self._by_session.get(hello.session)) is not None:
            self._forget(older)
        self._by_session[hello.session] = connection
        welcome = wire.Welcome(wire.VERSION, self._registration_timeout, self._clock.monotonic_ns())
        self._send(connection, wire.frame(welcome))

    def _take_envelope(self, connection: AcceptedConnection, session: bytes, frame: bytes) -> None:
        envelope = wire.read_envelope(frame)
        if isinstance(envelope, wire.Failed):
            self._counters.count(envelope.reason)
            self._lines.write("refused: %s, %s: %s", envelope.reason, _name(connection), quoted(envelope.message))
            self._send(connection, wire.frame(envelope))
        else:
            self._take_request(connection, session, envelope, len(frame))

    def _take_request(self, connection: AcceptedConnection, session: bytes, envelope: wire.Envelope, size: int) -> None:
        receipt = self._receipts.reply_to(session, envelope.number)
        if receipt is not None:
            self._send_kept(connection, session, [envelope.number], receipt)
        elif isinstance(envelope.request, wire.Listen):
            self._hand_over_bell(connection, envelope.number)
        elif self._requests.full:
            self._counters.count(SystemBusy.reason)
            waiting = len(self._requests)
            busy = SystemBusy(f"{waiting} requests are waiting already; nothing was changed, try again later")
            self._send(connection, wire.frame(wire.failure(envelope.number, busy)))
        else:
            self._requests.add(connection, envelope, size)

    def _hand_over_bell(self, connection: AcceptedConnection, number: int) -> None:
        reply = wire.frame(wire.Done(number, [], changed=False))
        connection.hand_over(reply, self._bell.descriptor)
        self._bell.listeners += not connection.has_bell
        connection.has_bell = True

    # Outgoing

    def _send(self, connection: AcceptedConnection, data: bytes) -> bool:
        """Whether all of it is in the socket; the rest goes there when the client reads."""
        if connection.closed:
            return False
        try:
            if connection.send(data):
                return True
            self._pause(connection)
        except OSError as error:
            self._drop(connection, str(error))
        return False

    def _send_kept(self, connection: AcceptedConnection, session: bytes, numbers: list[int], data: bytes) -> None:
        """Send replies of which there are receipts, until all of their bytes are in the socket."""
        connection.unsent += numbers
        if self._send(connection, data):
            self._note_sent(connection, session)

    def _note_sent(self, connection: AcceptedConnection, session: bytes) -> None:
        """All bytes for a client are in its socket. Only of these replies: the client of an earlier registrar may still
        ask for others, whose receipts were inherited."""
        for number in connection.unsent:
            self._receipts.sent(session, number)
        connection.unsent.clear()

    def _pause(self, connection: AcceptedConnection) -> None:
        """Read no more from a client until it has read its replies and its requests are done."""
        self._paused.add(connection)
        connection.clogged_since = self._clock.monotonic_ns()
        self._epoll.modify(connection.fd, select.EPOLLOUT if connection.clogged else 0)

    # Ends

    @contextlib.contextmanager
    def _dropping(self, connection: AcceptedConnection) -> Iterator[None]:
        """A client that does something wrong ends its connection and nothing else."""
        try:
            yield
        except ConnectionResetError:
            # The client has left, or comes back on another connection, and asks again what it has no reply to.
            if connection.session is not None:
                self._receipts.cut_off(connection.session, self._clock.monotonic_ns())
            self._forget(connection)
        except OSError as error:
            self._drop(connection, str(error))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            # All that bytes can do to a decoder, invalid UTF-8 and endless nesting included.
            if connection.session is not None:
                # Otherwise the client would take this registrar for a dead one, and send the same frame again.
                self._send(connection, wire.frame(wire.failure(0, wire.unreadable(error))))
            self._drop(connection, f"its frame is no message: {error}")

    def _drop(self, connection: AcceptedConnection, why: str) -> None:
        if self._connections.get(connection.fd) is connection:
            self._lines.write("client dropped: %s, %s", _name(connection), quoted(why))
            if connection.session is not None:
                self._receipts.cut_off(connection.session, self._clock.monotonic_ns())
            self._forget(connection)

    def _forget(self, connection: AcceptedConnection) -> None:
        if self._connections.pop(connection.fd, None) is connection and connection.has_bell:
            self._bell.listeners -= 1
        self._paused.discard(connection)
        connection.close()
        session = connection.session
        if session is not None and self._by_session.get(session) is connection:
            del self._by_session[session]
            if connection.owner is not None:
                self._sessions.disconnected(session, connection.owner)

    def _refuse(self, connection: AcceptedConnection, error: AdsumError) -> None:
        try:
            connection.send(wire.frame(wire.failure(0, error)))
        except OSError:
            self._lines.write("a client left before it was refused")
        connection.close()


def _name(connection: AcceptedConnection) -> str:
    """A client, for the log."""
    return "no hello yet" if connection.owner is None else f"process {connection.owner.pid}"
