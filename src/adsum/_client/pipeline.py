"""Calls that do not wait: one session, one connection, one thread, many requests in flight (pipelining).

It serves `register_nowait`, the awaited calls of `AsyncRegistry`, and all members inside this process: entries of
threads and tasks, and standbys, are bound to this session and end with it. So it connects to the next registrar by
itself while there are such entries, to say that the session goes on.
"""

from __future__ import annotations

import _socket
import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec

from .. import _wire as wire
from .._os import polling, threads
from .._os.descriptors import Wakeup
from .._os.forking import add_fork_aware, notice_fork, own
from .._os.liveness import descriptors_needed
from .._os.locks import locked
from .._store import page as pages
from ..errors import AdsumError, RegistrarUnavailable, RegistryClosed, SystemBusy, Timeout
from .call_table import CallTable
from .connection import Connection, expired, framed
from .dial import START_SECONDS, dial
from .drops import Drops, dropped_again
from .launch import Launch
from .pending_call import PendingCall
from .session_lock import SessionLock

RETRY_SECONDS = 1.0
# How long `close` waits for a registrar that does not answer, because it is stopped, say. Ctrl-C ends in `close`, too.
CLOSE_SECONDS = 1.0
# How often `close` looks whether calls are answered for which no caller waits.
ANSWER_CHECK_SECONDS = 0.001
# How long standbys are held back where the registry is made anew, for the members that held ids in the lost one.
HOLD_BACK_SECONDS = 1.0
# So many bytes that do not fit the socket are kept for a registrar that does not read.
MOST_OUTGOING_BYTES = 1024 * 1024
# How long the descriptors are assumed to be open while the thread has been woken and has not looked yet. A system call
# for each call would also let go of the interpreter's lock each time, and the two threads would take turns.
VERIFIED_SECONDS = 0.01


class Pipeline:
    """One session with many requests in flight. Its thread starts with the first of them."""

    def __init__(self, folder: Path, launch: Launch, dialled: Callable[[], int]) -> None:
        self._folder = folder
        self._launch = launch
        self._registration_timeout = launch.limits.registration_timeout
        self._dialled = dialled
        self._closed = False
        # Re-entrant: the token of a collected task may submit a call inside another call of the same thread.
        self._lock = threading.RLock()
        self._reset()
        add_fork_aware(self)

    def _reset(self) -> None:
        self._session = SessionLock(self._folder)
        self._calls = CallTable(self._lock)
        # Of the calls for which no caller waits.
        self._unattended: set[Future[Any]] = set()
        self._outgoing = bytearray()
        self._wake: Wakeup | None = None
        self._thread: threading.Thread | None = None
        self._connection: Connection | None = None
        self._drops = Drops()
        # The reason that the registrar has given for the end of the connection.
        self._refusal: AdsumError | None = None
        self.holds_entries = False
        # The epoch of the registry at the last connection; 0 before.
        self._epoch = 0
        # Until then a thread that was woken is trusted to look (monotonic).
        self._verify_at = 0.0
        # When the standbys may be sent that are held back (monotonic); 0 where none are.
        self._held_back_until = 0.0

    def hold_entries(self) -> None:
        """From now on entries are bound to this session. The lock that proves its life must exist before they do."""
        if not own[0]:
            notice_fork()
        self._hold_entries()

    @locked
    def _hold_entries(self) -> None:
        self._verify()
        if not self._closed:
            self._session.hold()
            self.holds_entries = True

    @property
    def has_calls(self) -> bool:
        """Whether a call has no reply yet."""
        return len(self._calls) > 0

    def submit(self, call: PendingCall[Any]) -> None:
        """Send a call in the thread. Errors: `RegistryClosed`; `SystemBusy` where no descriptor or thread is left."""
        if not own[0]:
            notice_fork()
        self._submit(call)

    def submit_unattended(self, call: PendingCall[Any]) -> None:
        """Send a call for which no caller waits, so that `close` does. Errors: as `submit`."""
        self._unattended.add(call.future)
        call.future.add_done_callback(self._unattended.discard)
        try:
            self.submit(call)
        except BaseException:
            self._unattended.discard(call.future)
            raise

    @locked
    def _submit(self, call: PendingCall[Any]) -> None:
        if self._closed:
            raise RegistryClosed("this registry was closed; open another")
        # With unsent calls the thread was woken for an earlier one, and has not looked yet. Asked before the call is
        # added, because the garbage collector may add another one here.
        must_wake = not self._calls.has_unsent or self._connection is None or time.monotonic() >= self._verify_at
        if must_wake:
            self._verify()
            self._verify_at = time.monotonic() + VERIFIED_SECONDS
        if self._wake is None:
            with descriptors_needed():
                self._wake = Wakeup()
        # Before the call is added: where no thread can be started, there is no call.
        if self._thread is None:
            self._start_thread(self._wake)
        self._calls.add(call)
        if not must_wake:
            return
        try:
            self._wake.ring()
        except SystemBusy:
            self._calls.remove(call.number)
            raise

    def _start_thread(self, wake: Wakeup) -> None:
        # Kept before it starts, because an interrupt of `start` does not stop the thread.
        self._thread = threading.Thread(target=self._run, args=(wake,), name="adsum", daemon=True)
        try:
            threads.start(self._thread)
        except SystemBusy:
            self._thread = None
            raise

    @locked
    def _verify(self) -> None:
        """Begin anew where the program closed the descriptors: with a new session, in a new thread."""
        if (self._wake is not None and not self._wake.is_ours()) or self._session.is_closed:
            self._begin_anew(RegistrarUnavailable("this process closed the connection to the registrar; ask again"))

    def _begin_anew(self, error: AdsumError) -> None:
        calls, connection = self._calls.all(), self._connection
        self._release()
        if connection is not None:
            connection.close()
        self._reset()
        for call in calls:
            call.settle(error)

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
        """End the session, and with it each entry that is bound to it. Calls for which no caller waits are answered
        first, where that takes a moment only."""
        until = time.monotonic() + CLOSE_SECONDS
        # Not `concurrent.futures.wait`: an interrupt there may leave a lock of a future acquired (see `_os.locks`).
        while self._unattended and self._thread is not threading.current_thread() and time.monotonic() < until:
            time.sleep(ANSWER_CHECK_SECONDS)
        self.stop()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            threads.join(thread, CLOSE_SECONDS)

    @locked
    def stop(self) -> None:
        """`close` without waiting for the thread."""
        self._closed = True
        # Now, and not by the thread, which may be dialling for a while: the next registrar must find the session over.
        self._session.release()
        if self._thread is None:
            self._release()
        elif self._wake is not None:
            self._wake.ring()

    def _release(self) -> None:
        """Close this session's descriptors. Forgotten first, so that no thread writes to a number that is reused."""
        self._session.release()
        wake, self._wake = self._wake, None
        if wake is not None:
            wake.close()

    # The thread

    def _run(self, wake: Wakeup) -> None:
        poll = polling.wait_set()
        poll.register(wake, polling.POLLIN)
        try:
            while not self._closed and self._wake is wake:
                try:
                    self._turn(poll, wake)
                except Timeout:
                    # Ends only the calls that have no more time; the others go on waiting.
                    self._expire(unanswered=True)
                except AdsumError as error:
                    self._disconnect(poll)
                    self._fail_all(error)
                except _TooOld:
                    self._take_last_replies()
                    self._disconnect(poll)
                except (OSError, msgspec.DecodeError, wire.FrameTooLarge) as error:
                    # The registrar died, or another program answers at its socket: ask the next one.
                    self._take_last_replies()
                    self._note_drop(error)
                    self._disconnect(poll)
            if self.holds_entries and self._connection is None and self._wake is wake:
                self._say_goodbye(poll)
        finally:
            self._end(poll, wake)

    def _end(self, poll: polling.WaitSet, wake: Wakeup) -> None:
        if self._end_session(poll, wake):
            self._fail_all(RegistryClosed("the registry was closed before the answer came"))

    @locked
    def _end_session(self, poll: polling.WaitSet, wake: Wakeup) -> bool:
        """False where the session began anew, in another thread."""
        if self._wake is not wake:
            return False
        self._disconnect(poll)
        self._closed = True
        self._release()
        return True

    def _turn(self, poll: polling.WaitSet, wake: Wakeup) -> None:
        if not wake.is_ours():
            self._verify()
            return
        if self._connection is None:
            self._notice_removal()
        if self._connection is None and (self._calls or self.holds_entries):
            self._connect(poll)
        self._send_held_back()
        self._send(poll)
        nearest = self._calls.next_deadline()
        if self._held_back_until:
            nearest = self._held_back_until if nearest is None else min(self._held_back_until, nearest)
        ready = poll.poll(self._milliseconds_until(nearest))
        for fd, events in ready if self._wake is wake else ():
            if fd == wake.fileno():
                wake.clear()
            elif self._connection is not None and events & ~polling.POLLOUT:
                self._connection.read()
                self._take_replies(self._connection)
        if nearest is not None and nearest <= time.monotonic():
            self._expire()

    @locked
    def _notice_removal(self) -> None:
        """The folder was removed, and the entries with it: a client that only held entries does not make it anew."""
        if self.holds_entries and not self._calls and not os.path.exists(self._folder):
            self.holds_entries = False
            self._session.release()

    def _connect(self, poll: polling.WaitSet) -> None:
        is_lost = self._registry_is_gone()
        if is_lost and self.holds_entries and self._calls:
            self._session.hold()
        calls = self._calls.all()
        soonest = self._calls.next_deadline()
        until = time.monotonic() + RETRY_SECONDS if soonest is None else soonest
        has_default_bound = any(call.seconds is None for call in calls)
        answer = self._registration_timeout if has_default_bound else START_SECONDS
        connection = dial(self._folder, self._launch, self._session.token, until, answer, may_start=self._is_open)
        # Together: `_disconnect` undoes both.
        self._connection = connection
        poll.register(connection.sock, polling.POLLIN)
        self._registration_timeout = connection.registration_timeout
        self._drops.connected(connection, until)
        self._epoch = self._dialled()
        if is_lost:
            # If a standby came back to the new registry before the living holder of its id, it would be granted the id.
            # Both have waited for the registrar that serves now.
            self._held_back_until = time.monotonic() + HOLD_BACK_SECONDS
        self._calls.send_again(with_queued=not self._held_back_until)
        # A standby may be granted at the moment in which the session is back; then its reply follows the welcome.
        self._take_replies(connection)

    @property
    def epoch(self) -> int:
        """That of the registry whose replies the thread takes; 0 where it is not known."""
        return self._epoch

    def _registry_is_gone(self) -> bool:
        """Whether the folder has another registry than at the last connection, or none."""
        return self._epoch != 0 and self._epoch != pages.epoch_in(self._folder)

    def _send_held_back(self) -> None:
        """Send the standbys that were held back, when it is time."""
        if self._held_back_until and time.monotonic() >= self._held_back_until:
            self._held_back_until = 0.0
            self._calls.send_queued_again()

    def _is_open(self) -> bool:
        return not self._closed

    def _disconnect(self, poll: polling.WaitSet) -> None:
        self._outgoing.clear()
        if self._connection is not None:
            poll.unregister(self._connection.sock)
            self._connection.close()
            self._connection = None

    def _say_goodbye(self, poll: polling.WaitSet) -> None:
        """A registrar that started after the last connection was lost has not seen the session begin, so it would not
        see it end."""
        try:
            self._connect(poll)
        except AdsumError:
            # No registrar serves; the next one will find that the session's lock is free.
            return

    def _send(self, poll: polling.WaitSet) -> None:
        connection = self._connection
        if connection is None:
            return
        now = time.monotonic()
        for call in self._calls.claim_unsent():
            self._outgoing += self._framed(call, connection, now)
        if not self._outgoing:
            return
        try:
            del self._outgoing[: connection.sock.send(self._outgoing, _socket.MSG_NOSIGNAL)]
        except BlockingIOError:
            # The socket is full: the registrar is busy, or stopped. Deadlines go on.
            pass
        poll.modify(connection.sock, polling.POLLIN | (polling.POLLOUT if self._outgoing else 0))

    def _framed(self, call: PendingCall[Any], connection: Connection, now: float) -> bytes:
        """A call as bytes; none where it cannot be sent."""
        try:
            deadline = call.begin(now, connection.registration_timeout) + connection.clock_ahead
            return framed(call.request, call.number, deadline)
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
            elif reply.number == 0 and isinstance(reply, wire.Failed):
                self._refusal = wire.error_from(reply)
            elif (call := self._calls.remove(reply.number)) is not None:
                call.settle(wire.error_from(reply) if isinstance(reply, wire.Failed) else reply)

    def _take_last_replies(self) -> None:
        """Take the replies that the registrar has sent before it died. It may have dropped their receipts, so their
        requests must not be sent again. A send may fail before they are read: the kernel reports to it that the peer
        was closed with unread data (unix_release_sock in net/unix/af_unix.c)."""
        connection = self._connection
        with contextlib.suppress(OSError, msgspec.DecodeError, wire.FrameTooLarge):
            while connection is not None:
                connection.read()
                self._take_replies(connection)

    def _note_drop(self, error: Exception) -> None:
        """The connection has ended. Calls that the same registrar has dropped twice fail: it would drop them again."""
        refusal, self._refusal = self._refusal, None
        registrar = self._drops.add(self._connection)
        for call in self._calls.dropped(registrar) if registrar else ():
            call.settle(refusal or dropped_again(self._folder, registrar, error))

    def _expire(self, *, unanswered: bool = False) -> None:
        expired_calls = self._calls.remove_expired(time.monotonic(), unanswered=unanswered)
        for call in expired_calls:
            call.settle(expired(self._registration_timeout if call.seconds is None else call.seconds))
        if expired_calls and len(self._outgoing) > MOST_OUTGOING_BYTES:
            # Most of them were not sent yet, and need not be. A new connection sends only the calls that still wait.
            # Not for a few: the entries of threads and tasks end with the connection.
            raise _TooOld

    def _milliseconds_until(self, nearest: float | None) -> int | None:
        """How long to wait for events; None without bound."""
        if self._calls.has_unsent:
            return 0
        return None if nearest is None else max(0, int((nearest - time.monotonic()) * 1000) + 1)

    def _fail_all(self, error: AdsumError) -> None:
        for call in self._calls.remove_failed(closed=self._closed):
            call.settle(error)
        if self.holds_entries and not self._closed:
            time.sleep(RETRY_SECONDS)

    # fork

    def quiesce(self) -> None:
        self._lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        if not child:
            self._lock.release()
            return
        # The thread stays in the parent, and the descriptors are the parent's.
        if self._connection is not None:
            self._connection.close()
        self._release()
        calls = self._calls.all()
        self._lock = threading.RLock()
        self._reset()
        for call in calls:
            call.abandon()


class _TooOld(Exception):
    """This side gives up the connection, because most requests that wait to be sent grew too old."""
