"""Calls that do not wait: one session, one connection, one thread, many requests in flight (pipelining).

It serves `register_nowait`, the awaited calls of `AsyncRegistry`, and all members inside this process: entries of
threads and tasks, and standbys, are bound to this session and end with it. So it connects to the next registrar by
itself while there are such entries, to say that the session goes on.
"""

from __future__ import annotations

import math
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from .. import _wire as wire
from .._os import folder as folders
from .._os import session
from .._os.forking import add_fork_aware
from .._os.liveness import descriptors_needed
from ..errors import AdsumError, RegistryClosed, Timeout
from ..model import Limits
from .call_table import CallTable
from .connection import Connection, expired, framed
from .dial import START_SECONDS, dial
from .pending_call import PendingCall

RETRY_SECONDS = 1.0
# How long `close` waits for a registrar that does not answer, because it is stopped, say. Ctrl-C ends in `close`, too.
CLOSE_SECONDS = 1.0
# How long a standby waits in a registry that is made anew, for the members that held ids in the one that is gone.
HOLD_BACK_SECONDS = 1.0


class Pipeline:
    """One session with many requests in flight. Its thread starts with the first of them."""

    def __init__(self, folder: Path, limits: Limits, dialled: Callable[[], None]) -> None:
        self._folder = folder
        self._limits = limits
        self._registration_timeout = limits.registration_timeout
        self._dialled = dialled
        self._closed = False
        self._reset()
        add_fork_aware(self)

    def _reset(self) -> None:
        # Re-entrant: the token of a collected task may submit a call inside another call of the same thread.
        self._lock = threading.RLock()
        self._session = os.urandom(16)
        self._calls = CallTable(self._lock)
        self._outgoing = bytearray()
        self._wake = -1
        self._thread: threading.Thread | None = None
        self._connection: Connection | None = None
        self.holds_entries = False
        self._held = -1
        # The file that was the page of the registry at the last connection; empty before.
        self._page: tuple[int, ...] = ()

    def hold_entries(self) -> None:
        """From now on entries are bound to this session. The lock that proves its life must exist before they do."""
        with self._lock:
            if not self.holds_entries and not self._closed:
                self._hold_session()
                self.holds_entries = True
            elif self.holds_entries:
                self._renew_session()

    def _hold_session(self) -> None:
        with descriptors_needed():
            folders.create(self._folder)
            self._held = session.hold(self._folder, self._session)

    def _renew_session(self) -> None:
        """The folder may have gone, and with it the file that shows the session's life."""
        if not session.is_shown_by(self._held, self._folder, self._session):
            self._release_session()
            self._hold_session()

    @property
    def has_calls(self) -> bool:
        """Whether a call has no reply yet."""
        return len(self._calls) > 0

    def submit(self, call: PendingCall[Any]) -> None:
        """Send a call, in the pipeline's thread. Errors: `RegistryClosed`; `SystemBusy` without a descriptor."""
        with self._lock:
            if self._closed:
                raise RegistryClosed("this registry was closed; open another")
            if self._wake < 0:
                with descriptors_needed():
                    self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            # With unsent calls the thread was woken for an earlier one, and has not looked yet. Asked before the call
            # is added, because the garbage collector may add another one here.
            must_wake = not self._calls.has_unsent or self._connection is None
            self._calls.add(call)
            if not must_wake:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="adsum", daemon=True)
                self._thread.start()
            os.eventfd_write(self._wake, 1)

    def cancel(self, number: int, answered: Callable[[wire.Done], None]) -> None:
        """Ask the registrar to drop this session's standby `number`, 0 for none, and call `answered` when it has
        answered. All calls submitted before are decided by then, or never will be."""
        try:
            self.submit(PendingCall(wire.Cancel(stand_by=number), answered, START_SECONDS))
        except RegistryClosed:
            # The standby ended with the session.
            return

    def forget(self, number: int) -> None:
        """No reply will come for this call."""
        self._calls.remove(number)

    def close(self) -> None:
        """End the session, and with it each entry that is bound to it."""
        self.stop()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(CLOSE_SECONDS)

    def stop(self) -> None:
        """`close` without waiting for the thread."""
        with self._lock:
            self._closed = True
            # Now, and not by the thread, which may be dialling for a while: the next registrar must find the session
            # over.
            self._release_session()
            if self._thread is None:
                self._release()
            elif self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def _release(self) -> None:
        """Close this session's descriptors. Forgotten first, so that no thread writes to a number that is reused."""
        self._release_session()
        wake, self._wake = self._wake, -1
        if wake >= 0:
            os.close(wake)

    def _release_session(self) -> None:
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
                    # Ends only the calls that have no more time; the others go on waiting.
                    self._expire(unanswered=True)
                except AdsumError as error:
                    self._disconnect(poll)
                    self._fail_all(error)
                except (OSError, msgspec.DecodeError, wire.FrameTooLarge):
                    # The registrar died, or another program answers at its socket: ask the next one.
                    self._disconnect(poll)
            if self.holds_entries and self._connection is None:
                self._say_goodbye(poll)
        finally:
            self._disconnect(poll)
            with self._lock:
                self._closed = True
                self._release()
            self._fail_all(RegistryClosed("the registry was closed before the answer came"))

    def _turn(self, poll: select.poll) -> None:
        if self._connection is None:
            self._notice_removal()
        if self._connection is None and (self._calls or self.holds_entries):
            self._connect(poll)
        self._send(poll)
        nearest = self._calls.next_deadline()
        for fd, events in poll.poll(self._milliseconds_until(nearest)):
            if fd == self._wake:
                os.eventfd_read(fd)
            elif self._connection is not None and events & ~select.POLLOUT:
                self._connection.read()
                self._take_replies(self._connection)
        if nearest is not None and nearest <= time.monotonic():
            self._expire()

    def _notice_removal(self) -> None:
        """The folder was removed, and the entries with it: a client that only held entries does not make it anew."""
        with self._lock:
            if self.holds_entries and not self._calls and not os.path.exists(self._folder):
                self.holds_entries = False
                self._release_session()

    def _connect(self, poll: select.poll) -> None:
        if self._registry_is_gone():
            self._let_holders_be_first()
        calls = self._calls.all()
        soonest = min((call.give_up for call in calls), default=math.inf)
        until = soonest if soonest < math.inf else time.monotonic() + RETRY_SECONDS
        has_default_bound = any(call.seconds is None for call in calls)
        answer = self._registration_timeout if has_default_bound else START_SECONDS
        connection = dial(self._folder, self._limits, self._session, until, answer, may_start=self._is_open)
        self._connection = connection
        self._registration_timeout = connection.registration_timeout
        self._dialled()
        self._page = _file_of_page(self._folder)
        poll.register(connection.sock, select.POLLIN)
        self._calls.send_again()
        # A standby may be granted at the moment in which the session is back; then its reply follows the welcome.
        self._take_replies(connection)

    def _registry_is_gone(self) -> bool:
        return bool(self._page) and self._page != _file_of_page(self._folder)

    def _let_holders_be_first(self) -> None:
        """The registry is made anew. If a standby came back to it before the living holder of its id, it would be
        granted the id."""
        until = time.monotonic() + HOLD_BACK_SECONDS
        while any(call.is_queued for call in self._calls.all()) and time.monotonic() < until and not self._closed:
            time.sleep(HOLD_BACK_SECONDS / 20)
        if self.holds_entries and self._calls:
            with self._lock:
                self._renew_session()

    def _is_open(self) -> bool:
        return not self._closed

    def _disconnect(self, poll: select.poll) -> None:
        self._outgoing.clear()
        if self._connection is not None:
            poll.unregister(self._connection.sock)
            self._connection.close()
            self._connection = None

    def _say_goodbye(self, poll: select.poll) -> None:
        """A registrar that started after the last connection was lost has not seen the session begin, so it would not
        see it end."""
        try:
            self._connect(poll)
        except AdsumError:
            # No registrar serves; the next one will find that the session's lock is free.
            return

    def _send(self, poll: select.poll) -> None:
        connection = self._connection
        if connection is None:
            return
        now = time.monotonic()
        for call in self._calls.claim_unsent():
            self._outgoing += self._framed(call, connection, now)
        if not self._outgoing:
            return
        try:
            del self._outgoing[: connection.sock.send(self._outgoing, socket.MSG_NOSIGNAL)]
        except BlockingIOError:
            # The socket is full: the registrar is busy, or stopped. Deadlines go on.
            pass
        poll.modify(connection.sock, select.POLLIN | (select.POLLOUT if self._outgoing else 0))

    def _framed(self, call: PendingCall[Any], connection: Connection, now: float) -> bytes:
        """A call as bytes; none where it cannot be sent."""
        try:
            return framed(call.request, call.number, call.begin(now, connection.registration_timeout))
        except AdsumError as error:
            self._calls.remove(call.number)
            call.settle(error)
            return b""

    def _take_replies(self, connection: Connection) -> None:
        for frame in connection.frames:
            reply = wire.decode_reply(frame)
            if isinstance(reply, wire.Queued):
                if (call := self._calls.get(reply.number)) is not None:
                    call.queue(reply.position)
            elif (call := self._calls.remove(reply.number)) is not None:
                call.settle(wire.error_from(reply) if isinstance(reply, wire.Failed) else reply)

    def _expire(self, *, unanswered: bool = False) -> None:
        expired_calls = self._calls.remove_expired(time.monotonic(), unanswered=unanswered)
        for call in expired_calls:
            call.settle(expired(self._registration_timeout if call.seconds is None else call.seconds))
        if expired_calls and self._outgoing:
            # Some of them may not be sent yet, and need not be. A new connection sends only the calls that still wait.
            raise ConnectionResetError("requests grew too old to be sent")

    def _milliseconds_until(self, nearest: float | None) -> int | None:
        """How long to wait for events; None without bound."""
        if self._calls.has_unsent:
            return 0
        return None if nearest is None or nearest == math.inf else max(0, int((nearest - time.monotonic()) * 1000) + 1)

    def _fail_all(self, error: AdsumError) -> None:
        for call in self._calls.remove_failed(closed=self._closed):
            call.settle(error)
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
        # The thread stays in the parent, and the descriptors are the parent's.
        if self._connection is not None:
            self._connection.close()
        self._release()
        calls = self._calls.all()
        self._reset()
        for call in calls:
            call.abandon()


def _file_of_page(folder: Path) -> tuple[int, ...]:
    """What identifies the file of the registry's page; empty where there is none."""
    try:
        found = os.stat(folder / "page")
    except OSError:
        return ()
    return found.st_dev, found.st_ino
