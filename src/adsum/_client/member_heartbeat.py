"""Heartbeats that adsum itself sends for a member of this process, and the thread that sends those of all of them.

An event loop sends the others (`adsum.aio.heartbeat`). Both send `HEARTBEATS` within the promised `SECONDS`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Protocol

from .. import _wire as wire
from .._os import identity, threads
from .._os.forking import call_around_fork, notice_fork, own
from .._os.locks import holding
from ..errors import NotRegistered, RegistryClosed, Stale, SystemBusy
from ..model import Entry
from .target import Target

THREAD = "thread"
# The promise of a member whose heartbeats adsum sends, and how many heartbeats are sent within it.
SECONDS = 1.0
HEARTBEATS = 3
# How long the thread waits for the registration that it was started for.
_FIRST_SECONDS = 10.0


class Sender(Protocol):
    """What a heartbeat asks of `Calls`."""

    def send_heartbeat(self, entry: Entry) -> Future[wire.Done] | None: ...
    def may_return(self, entry: Entry) -> bool: ...
    def keep_current(self, holder: Any) -> None: ...


class MemberHeartbeat:
    """Sends heartbeats for `entry`, until the registry or the entry ends. It keeps the registry open, because the entry
    has promised heartbeats."""

    def __init__(self, sender: Sender, entry: Entry) -> None:
        self._sender = sender
        # Another one where the registry was lost, and the entry was registered anew.
        self.entry = entry
        self.is_over = False
        sender.keep_current(self)

    def send(self) -> None:
        """Send a heartbeat, and wait for nothing."""
        entry = self.entry
        try:
            sent = self._sender.send_heartbeat(entry)
            if sent is not None:
                sent.add_done_callback(lambda sent: self._answered(entry, sent))
        except RegistryClosed:
            self.is_over = True
        except SystemBusy:
            # No descriptor or memory is left for it now; the next one follows soon.
            return

    def _answered(self, entry: Entry, sent: Future[wire.Done]) -> None:
        """In the pipeline's thread. A heartbeat that came too late is followed by others; one for no entry by none,
        unless the entry is lost and comes back."""
        if sent.cancelled() or isinstance(sent.exception(), RegistryClosed):
            self.is_over = True
        elif isinstance(sent.exception(), (NotRegistered, Stale)):
            # In this order: it may get its new entry at this moment.
            self.is_over = not self._sender.may_return(entry) and self.entry is entry

    def ends_with(self, sender: Sender) -> bool:
        return self.is_over or self._sender is sender


def promised(metadata: Any, target: Target) -> tuple[Any, bool]:
    """The metadata with a promise in seconds in place of the word ``thread``, and whether that was there. Errors:
    `ValueError` where the member is another process."""
    if not isinstance(metadata, (dict, Mapping)) or metadata.get("heartbeat") != THREAD:
        return metadata, False
    if target.owner != identity.current():
        raise ValueError("heartbeat='thread' is a thread of this process; give seconds for another process")
    return {**metadata, "heartbeat": SECONDS}, True


class HeartbeatThread:
    """The thread of this process that sends the heartbeats of all its members. It ends when there is none."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin without a member: in a forked child they are the parent's."""
        self._lock = threading.RLock()
        self._heartbeats: list[MemberHeartbeat] = []
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        # Until then it waits for a first member (monotonic).
        self._awaited_until = 0.0

    def prepare(self) -> None:
        """Have the thread run before a member promises its heartbeats. Errors: `SystemBusy` where none can be started,
        and then nothing is promised."""
        if not own[0]:
            notice_fork()
        holding(self._lock, self._prepare)

    def _prepare(self) -> None:
        self._awaited_until = time.monotonic() + _FIRST_SECONDS
        if self._thread is None:
            thread = threading.Thread(target=self._run, args=(self._wake,), name="adsum-heartbeats", daemon=True)
            self._thread = thread
            try:
                threads.start(thread)
            except SystemBusy:
                self._thread = None
                raise

    def begin(self, sender: Sender, entry: Entry) -> None:
        """Send heartbeats for an entry from now on."""
        heartbeat = MemberHeartbeat(sender, entry)
        holding(self._lock, self._begin, heartbeat)

    def _begin(self, heartbeat: MemberHeartbeat) -> None:
        self._heartbeats.append(heartbeat)
        # A registration may have taken longer than the thread waits.
        self._prepare()
        self._awaited_until = 0.0

    def end(self, sender: Sender) -> None:
        """Send no more heartbeats through this sender, which is closed."""
        if self._thread is not None and own[0]:
            holding(self._lock, self._end, sender)

    def _end(self, sender: Sender) -> None:
        left = [one for one in self._heartbeats if not one.ends_with(sender)]
        self._heartbeats = left
        if not left:
            self._awaited_until = 0.0
            self._wake.set()

    def _run(self, wake: threading.Event) -> None:
        due = time.monotonic() + SECONDS / HEARTBEATS
        while not holding(self._lock, self._may_end):
            if wake.wait(max(0.0, due - time.monotonic())):
                wake.clear()
            if time.monotonic() < due:
                continue
            # Not from `due`: heartbeats that were missed while this process was stopped are not made up for.
            due = time.monotonic() + SECONDS / HEARTBEATS
            for heartbeat in list(self._heartbeats):
                if not heartbeat.is_over:
                    heartbeat.send()

    def _may_end(self) -> bool:
        self._heartbeats = [one for one in self._heartbeats if not one.is_over]
        if self._heartbeats or time.monotonic() < self._awaited_until:
            return False
        self._thread = None
        return True


heartbeat_thread = HeartbeatThread()
call_around_fork(after_in_child=heartbeat_thread.reset)
