"""Asking without waiting: one connection, one thread, many requests on their way.

It serves `register_nowait`, the awaited calls of `AsyncRegistry`, and everything that lives inside a process: entries
of threads and tasks are bound to this session, and end with it. So it also comes back by itself when the registrar
dies while there are such entries, to tell the next one that the session lives on.
"""

from __future__ import annotations

import math
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from .. import _wire as wire
from .._os import folder as folders
from .._os import session
from .._os.forking import watch_forks
from .._os.liveness import descriptors_needed
from ..errors import AdsumError, RegistryClosed, Timeout
from ..model import Limits
from .connection_pool import GRACE_SECONDS, expired, framed
from .dial import START_SECONDS, Connection, dial
from .pending_call import PendingCall, Queueing

RETRY_SECONDS = 1.0
# How long closing waits for a registrar that does not answer, stopped for one. Ctrl-C ends in a close, too.
CLOSE_SECONDS = 1.0
READ_BYTES = 256 * 1024

T = TypeVar("T")


class Pipeline:
    """One session with many requests under way. Its thread starts with the first of them."""

    def __init__(self, folder: Path, limits: Limits, dialled: Callable[[], None]) -> None:
        self._folder = folder
        self._limits = limits
        self._registration_timeout = limits.registration_timeout
        self._dialled = dialled
        self._closed = False
        self._reset()
        watch_forks(self)

    def _reset(self) -> None:
        # Re-entrant: a collected task's token may ask in the middle of a call of the same thread.
        self._lock = threading.RLock()
        self._session = os.urandom(16)
        self._number = 0
        self._asked: dict[int, PendingCall[Any]] = {}
        self._unsent: list[int] = []
        self._outgoing = bytearray()
        self._wake = -1
        self._thread: threading.Thread | None = None
        self._connection: Connection | None = None
        self.holds_entries = False
        self._held = -1

    def hold_entries(self) -> None:
        """From now on entries live in this session; what their life depends on must be there before they are."""
        with self._lock:
            if not self.holds_entries and not self._closed:
                with descriptors_needed():
                    folders.create(self._folder)
                    self._held = session.hold(self._folder, self._session)
                self.holds_entries = True

    def ask(self, request: wire.AnyRequest, take: Callable[[wire.Done], T], timeout: float | None) -> Future[T]:
        """Send a request; the future gets what `take` makes of the reply, or the error."""
        return self.submit(request, take, timeout).future

    def submit(
        self,
        request: wire.AnyRequest,
        take: Callable[[wire.Done], T],
        timeout: float | None,
        *,
        patience: Queueing | None = None,
    ) -> PendingCall[T]:
        """`ask` for a caller that needs the request's number, or whose request may be queued at the registrar."""
        with self._lock:
            if self._closed:
                raise RegistryClosed("this registry was closed; open another")
            if self._wake < 0:
                with descriptors_needed():
                    self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            # Else it was woken for the one before, and has not looked yet. Asked first: the collector may ask for
            # something in the middle of this.
            asleep = not self._unsent or self._connection is None
            self._number += 1
            number = self._number
            asked = PendingCall(number, request, take, timeout, patience)
            self._asked[number] = asked
            self._unsent.append(number)
            if not asleep:
                return asked
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="adsum", daemon=True)
                self._thread.start()
            os.eventfd_write(self._wake, 1)
        return asked

    def forget(self, number: int) -> None:
        """Nothing will come for this request any more."""
        with self._lock:
            self._asked.pop(number, None)

    def close(self) -> None:
        """End the session and with it every entry that lives in it."""
        self.stop()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(CLOSE_SECONDS)

    def stop(self) -> None:
        """`close` without waiting for the thread, which sees to the rest."""
        with self._lock:
            self._closed = True
            # At once: the thread may be dialling for a while, and the next registrar is to find the session over.
            self._let_go_of_session()
            if self._thread is None:
                self._let_go()
            elif self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def _let_go(self) -> None:
        """Close what is this session's; nobody may write to the number of a descriptor that is closed."""
        self._let_go_of_session()
        wake, self._wake = self._wake, -1
        if wake >= 0:
            os.close(wake)

    def _let_go_of_session(self) -> None:
        held, self._held = self._held, -1
        if held >= 0:
            os.close(held)

    # The thread

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        try:
            while not self._closed:
                try:
                    self._turn(poll)
                except Timeout:
                    # Only for whoever waits no longer than this; the others go on waiting.
                    self._expire(unanswered=True)
                except AdsumError as error:
                    self._disconnect(poll)
                    self._fail_all(error)
                except (OSError, msgspec.DecodeError, wire.FrameTooLarge):
                    # The registrar died, or what answers is none: ask the next one.
                    self._disconnect(poll)
            if self.holds_entries and self._connection is None:
                self._say_goodbye(poll)
        finally:
            self._disconnect(poll)
            with self._lock:
                self._closed = True
                self._let_go()
            self._fail_all(RegistryClosed("the registry was closed before the answer came"))

    def _turn(self, poll: select.poll) -> None:
        if self._connection is None:
            self._notice_removal()
        if self._connection is None and (self._asked or self.holds_entries):
            self._connect(poll)
        self._send(poll)
        nearest = min([asked.give_up for asked in list(self._asked.values())], default=None)
        for fd, events in poll.poll(self._patience(nearest)):
            if fd == self._wake:
                os.eventfd_read(fd)
            elif self._connection is not None and events & ~select.POLLOUT:
                self._receive(self._connection)
        if nearest is not None and nearest <= time.monotonic():
            self._expire()

    def _notice_removal(self) -> None:
        """What lived here went with the folder; nobody who only held it makes the registry anew."""
        with self._lock:
            if self.holds_entries and not self._asked and not os.path.exists(self._folder):
                self.holds_entries = False
                self._let_go_of_session()

    def _connect(self, poll: select.poll) -> None:
        soonest = min((asked.give_up for asked in list(self._asked.values())), default=math.inf)
        until = min(soonest, time.monotonic() + RETRY_SECONDS if soonest == math.inf else math.inf)
        bound = any(asked.seconds is None for asked in list(self._asked.values()))
        answer = self._registration_timeout if bound else START_SECONDS
        connection = dial(self._folder, self._limits, self._session, until, answer, may_start=lambda: not self._closed)
        self._connection = connection
        self._dialled()
        poll.register(connection.sock, select.POLLIN)
        with self._lock:
            # Added to, never replaced: the collector may ask for something in the middle of this.
            self._unsent += list(self._asked)
        # Whoever stood by may be granted the id in the moment in which it is back, right behind the welcome.
        self._take(connection)

    def _disconnect(self, poll: select.poll) -> None:
        self._outgoing.clear()
        if self._connection is not None:
            poll.unregister(self._connection.sock)
            self._connection.close()
            self._connection = None

    def _say_goodbye(self, poll: select.poll) -> None:
        """A registrar that was not told that the session began, after the last one died, cannot see it end."""
        try:
            self._connect(poll)
        except AdsumError:
            # None can be had; the next one will find that nobody holds the session any more.
            return

    def _send(self, poll: select.poll) -> None:
        connection = self._connection
        if connection is None:
            return
        with self._lock:
            numbers, self._unsent = self._unsent, []
        now = time.monotonic()
        for number in sorted(set(numbers)):
            self._outgoing += self._framed(number, connection, now)
        if not self._outgoing:
            return
        try:
            del self._outgoing[: connection.sock.send(self._outgoing, socket.MSG_NOSIGNAL)]
        except BlockingIOError:
            # Full: the registrar is busy, or stopped. What waits goes on getting older.
            pass
        poll.modify(connection.sock, select.POLLIN | (select.POLLOUT if self._outgoing else 0))

    def _framed(self, number: int, connection: Connection, now: float) -> bytes:
        """A request as bytes; none where nobody waits for it any more, or where it cannot be sent."""
        asked = self._asked.get(number)
        if asked is None:
            return b""
        if not asked.is_wanted():
            self._asked.pop(number)
            return b""
        asked.sent = True
        if asked.is_queued:
            # It keeps its place in the tables, and has to be heard of again by the next registrar.
            asked.deadline = now + START_SECONDS
        elif asked.seconds is None:
            asked.deadline = now + connection.registration_timeout
            self._registration_timeout = connection.registration_timeout
            asked.give_up = asked.deadline + GRACE_SECONDS
        try:
            return framed(asked.request, number, asked.deadline or now)
        except AdsumError as error:
            self._asked.pop(number)
            asked.settle(error)
            return b""

    def _receive(self, connection: Connection) -> None:
        data = connection.sock.recv(READ_BYTES)
        if not data:
            raise ConnectionResetError("the registrar closed the connection")
        connection.frames.feed(data)
        self._take(connection)

    def _take(self, connection: Connection) -> None:
        for frame in connection.frames:
            reply = wire.decode_reply(frame)
            if isinstance(reply, wire.Queued):
                if (asked := self._asked.get(reply.number)) is not None:
                    asked.was_queued()
            elif (asked := self._asked.pop(reply.number, None)) is not None:
                asked.settle(wire.error_from(reply) if isinstance(reply, wire.Failed) else reply)

    def _expire(self, *, unanswered: bool = False) -> None:
        """Settle what waited long enough; where a registrar that serves did not even answer, all that has the
        registry's own bound."""
        now = time.monotonic()
        over = [
            (number, asked)
            for number, asked in list(self._asked.items())
            if asked.give_up <= now or (unanswered and asked.seconds is None and not asked.is_queued)
        ]
        for number, asked in over:
            self._asked.pop(number, None)
            seconds = asked.seconds if asked.seconds is not None else self._registration_timeout
            asked.settle(expired(seconds))
        if over and self._outgoing:
            # Some of them may not be sent yet, and need not be. A new connection begins with what is still waited for.
            raise ConnectionResetError("requests grew too old to be sent")

    def _patience(self, nearest: float | None) -> int | None:
        """Milliseconds until something has to be done without being told to."""
        if self._unsent:
            return 0
        return None if nearest is None or nearest == math.inf else max(0, int((nearest - time.monotonic()) * 1000) + 1)

    def _fail_all(self, error: AdsumError) -> None:
        with self._lock:
            # What is queued keeps its place in the tables, and its answer will come.
            over = [number for number, asked in list(self._asked.items()) if self._closed or not asked.is_queued]
            failed = [self._asked.pop(number) for number in over]
        for asked in failed:
            asked.settle(error)
        if self.holds_entries and not self._closed:
            time.sleep(RETRY_SECONDS)

    # fork

    def quiesce(self) -> None:
        self._lock.acquire()

    at_exit = quiesce

    def after_fork(self, *, child: bool) -> None:
        if not child:
            self._lock.release()
            return
        # Threads do not come along, and what they held is the parent's.
        if self._connection is not None:
            self._connection.close()
        self._let_go()
        asked = list(self._asked.values())
        self._reset()
        for one in asked:
            one.is_the_parents()
