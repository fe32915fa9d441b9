"""The registrar's loop: one thread, one epoll, over sockets, deaths and timers.

Each turn takes what is ready, decides and commits it together, and answers. The batch is whatever had arrived, so a
lone request waits for nobody and a storm pays for one commit per batch; and since there is one thread, there is nothing
to lock.

A batch comes from four places: deaths from the kernel, the ends of what lives inside processes from `sessions`, what
was asked for from `requests`, and signs of life that did not come from `heartbeats`. `clients` fills `sessions` and
`requests` and sends the answers; then the `bell` wakes whoever watches. What has no event of its own
(timeouts, owners that no descriptor watches, a folder that was taken away) is looked at once per tick.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path

from .._os.liveness import DeathWatch
from ..errors import AdsumError
from ..model import Owner
from .batch import Batch, Death
from .bell import Bell
from .clients import Clients
from .committer import Committer
from .requests import Requests
from .sessions import Sessions

log = logging.getLogger("adsum.registrar")

MAX_BATCH = 512
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
        self.committer = committer
        self.kernel = kernel
        self.still_ours = still_ours
        self.limits = committer.limits
        self.awake_until = self.idle_since = self.last_tick = self.retry_deaths_at = 0.0
        self.last_commits = 0
        self.stopping = self.evicted = False
        self.epoll = select.epoll()
        self.requests = Requests(self.limits.max_pending)
        self.sessions = Sessions(folder)
        self.bell = Bell()
        self.clients = Clients(
            listener, self.epoll, self.requests, self.sessions, committer, self.bell, kernel.capacity
        )
        self.epoll.register(kernel, select.EPOLLIN)
        self.wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.epoll.register(self.wake, select.EPOLLIN)

    def inherit(self, sessions: dict[bytes, Owner]) -> None:
        """Entries live in these sessions, which knew an earlier registrar and may have ended since."""
        self.sessions.inherit(sessions)
        self.sessions.check_inherited(self.clients)

    def run(self) -> str:
        """Serve; returns why it ended: ``stopped``, ``idle`` or ``evicted`` (the folder is not ours any more)."""
        self.idle_since = time.monotonic()
        while not self.stopping:
            self._turn()
            if self.evicted:
                return "evicted"
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
        self.clients.close()
        self.bell.close()
        self.epoll.close()
        os.close(self.wake)

    # One turn

    def _turn(self) -> None:
        died, looked = False, time.monotonic_ns()
        for fd, mask in self._ready():
            if fd == self.kernel.fileno():
                died = True
            else:
                self.clients.ready(fd, mask)
        self._work(self._deaths() if died else [], looked)
        self.clients.resume()
        self.bell.ring_if_due()

    def _ready(self) -> list[tuple[int, int]]:
        """What can be done now. Waking a sleeping processor takes as long as a commit, and who has just been answered
        often asks again; so after an answer the loop looks for a moment longer, out of the way of others, and then
        sleeps."""
        if not self.requests:
            while time.monotonic() < self.awake_until:
                if ready := self.epoll.poll(0, 1024):
                    return ready
                os.sched_yield()
        return self.epoll.poll(0 if self.requests else self._patience(), 1024)

    def _patience(self) -> float:
        """Seconds until something has to be done without being told to."""
        left = self._tick_seconds()
        if (due := self.committer.heartbeats.next_due()) is not None:
            left = min(left, max(0.0, (due - time.monotonic_ns()) / 1e9))
        if (ring := self.bell.seconds_left()) is not None:
            left = min(left, ring)
        return left

    def _deaths(self) -> list[Death]:
        noticed = time.monotonic_ns()
        return [Death(owner, noticed) for owner in self.kernel.deaths()]

    def _work(self, deaths: list[Death], looked: int = 0) -> None:
        """One batch. `looked` is when this loop began to look at the sockets: every sign from before that was read."""
        calls = self.requests.take(MAX_BATCH)
        ended = self.sessions.take_ended()
        # Whose sign may be among what waits, here or after a stop of this process in its socket, is not late.
        late = [] if self.requests else self.committer.heartbeats.late(looked)
        if not (deaths or calls or ended or late):
            return
        before = self.committer.commits
        try:
            answers = self.committer.commit(Batch(deaths, ended, calls, late))
        except AdsumError as error:
            log.error("a batch could not be committed: %s", error)
            answers = self.committer.fail(calls, error)
            self.sessions.give_back(ended)
            self.committer.heartbeats.put_off(late, time.monotonic_ns())
            # The dead stay readable in their epoll; waiting for it now would spin.
            self.epoll.modify(self.kernel, 0)
            self.retry_deaths_at = time.monotonic() + self.limits.cleanup_window / 2
        if not self.committer.is_in_place():
            # The folder was removed or made anew: what was committed nobody can see, so nobody may be told that it was.
            self.evicted = True
            return
        self.clients.reply(answers)
        if self.committer.commits != before:
            self.bell.changed()
        # Giving way to a herd could take until all of it has run.
        self.awake_until = 0.0 if self.bell.is_herd else time.monotonic() + AWAKE_SECONDS

    # Time

    def _tick_seconds(self) -> float:
        if self.sessions.ended:
            return 0.0
        return self.limits.cleanup_window / 3 if self.kernel.scanned or self.retry_deaths_at else TICK_SECONDS

    def _tick(self, now: float) -> None:
        self.clients.accept_again()
        if self.retry_deaths_at and now >= self.retry_deaths_at:
            self.retry_deaths_at = 0.0
            self.epoll.modify(self.kernel, select.EPOLLIN)
        if self.kernel.scanned:
            noticed = time.monotonic_ns()
            self._work([Death(owner, noticed) for owner in self.kernel.scan()])
        self.clients.drop_the_slow(time.monotonic_ns())
        self.sessions.check_inherited(self.clients)
        if self.committer.commits != self.last_commits:
            self.last_commits = self.committer.commits
            self.committer.check_readers()
        self.committer.receipts.expire(time.monotonic_ns())
        try:
            self.committer.keep_stats(len(self.requests))
        except AdsumError as error:
            log.warning("the statistics could not be kept: %s", error)

    def _idle(self, now: float) -> bool:
        if self.clients or self.requests or self.committer.entries:
            self.idle_since = now
            return False
        return now - self.idle_since >= self.limits.linger
