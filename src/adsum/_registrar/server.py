"""The registrar's loop: one thread, one epoll, over sockets, deaths and timers.

The technique is group commit (DeWitt et al., "Implementation Techniques for Main Memory Database Systems", SIGMOD 1984;
Gawlick and Kinkade, "Varieties of Concurrency Control in IMS/VS Fast Path", 1985). Each turn takes the requests
and deaths that have arrived, decides and commits them together, and answers. A batch never waits for more, so a lone
request is not delayed, and a storm pays for one commit per batch. Since there is one thread there is nothing to lock.

A batch comes from five places: deaths from the kernel, ended `sessions`, `requests`, missed `heartbeats`, and `exits`
of processes that were reaped. `clients` fills `sessions` and `requests` and sends the replies; then the `bell` wakes
the processes that watch. What has no event of its own (timeouts, owners that no descriptor watches, a folder that was
taken away) is checked once per tick.
"""

from __future__ import annotations

import os
import select

from .._engine.batch import Batch, Call, Death, EndedSession, Exit
from .._engine.heartbeats import Heartbeats, Lateness
from .._engine.receipts import Receipts
from .._os.death_watch import MOST_DEATHS, DeathWatch
from .._os.exit_watch import ExitWatch
from .._os.yielding import YieldingWait
from .._store.layout import Change
from ..errors import AdsumError
from ..model import Limits
from .bell import Bell
from .clients import Clients
from .committer import Committer
from .generations import Generations
from .hosts import ClusterHosts
from .members import Members
from .ports import Ports
from .postponed_cleanups import LOOK_SECONDS, PostponedCleanups
from .replies import OutgoingReply
from .requests import Requests
from .sessions import Sessions
from .survivors import SurvivorSocket
from .tenure import Tenure

MAX_BATCH = 512
# About so many entries of the dead are removed in one batch.
DEAD_ENTRIES = 64
# Half a second, for members are to be back within one when the folder is gone.
TICK_SECONDS = 0.5
# How often to see which reservations are over.
RESERVATION_SECONDS = 0.1
# How long the loop polls after an answer before it sleeps: what a client takes to ask again.
AWAKE_SECONDS = 0.0003


class Server:
    """Serves one registry until `stop` is called or it has been idle for `Limits.linger`. `wake` is an eventfd, which
    ends a wait of the loop."""

    def __init__(
        self,
        epoll: select.epoll,
        *,
        wake: int,
        awake: YieldingWait,
        kernel: DeathWatch,
        exits: ExitWatch,
        sessions: Sessions,
        requests: Requests,
        heartbeats: Heartbeats,
        committer: Committer,
        members: Members,
        hosts: ClusterHosts,
        receipts: Receipts,
        clients: Clients,
        bell: Bell,
        generations: Generations,
        tenure: Tenure,
        survivors: SurvivorSocket,
        postponed: PostponedCleanups,
        limits: Limits,
        ports: Ports,
    ) -> None:
        self._epoll = epoll
        self._kernel = kernel
        self._exits = exits
        self._sessions = sessions
        self._requests = requests
        self._heartbeats = heartbeats
        self._committer = committer
        self._members = members
        self._hosts = hosts
        self._receipts = receipts
        self._clients = clients
        self._bell = bell
        self._generations = generations
        self._tenure = tenure
        self._survivors = survivors
        self._survivors_fd = survivors.descriptor
        self._postponed = postponed
        self._limits = limits
        self._clock, self._log = ports.clock, ports.log
        self._awake = awake
        self._awake_until = self._idle_since = self._last_tick = 0.0
        self._last_commits = 0
        # The changes that no client knows, because the folder was gone at their commit.
        self.unanswered: list[Change] = []
        self._stopping = self._evicted = self._has_replied = False
        self._wake = wake
        epoll.register(wake, select.EPOLLIN)
        epoll.register(kernel, select.EPOLLIN)
        epoll.register(exits, select.EPOLLIN)
        if self._survivors_fd >= 0:
            epoll.register(self._survivors_fd, select.EPOLLIN)

    def run(self) -> str:
        """Serve; returns why it ended: ``stopped``, ``idle`` or ``evicted`` (the folder was taken away)."""
        self._idle_since = self._last_tick = self._clock.monotonic()
        while not self._stopping:
            self._turn()
            if self._evicted:
                return "evicted"
            now = self._clock.monotonic()
            if now - self._last_tick >= self._tick_seconds():
                self._last_tick = now
                if not self._tenure.holds():
                    return "evicted"
                self._tick(now)
            if self._idle(now):
                return "idle"
        return "stopped"

    def stop(self) -> None:
        """Leave after this turn; safe in a signal handler. A signal alone does not end a wait in epoll (PEP 475)."""
        self._stopping = True
        os.eventfd_write(self._wake, 1)

    def close(self, why: str) -> None:
        """First no client can connect any more, then the connected ones see that they must ask the next registrar.
        `why` is what `run` has returned, or ``failed``."""
        self._tenure.release(evicted=why == "evicted", failed=why == "failed")
        self._clients.close()
        self._bell.close()
        self._exits.close()
        self._epoll.close()
        os.close(self._wake)

    # One turn

    def _turn(self) -> None:
        died, exited, looked = False, False, self._clock.monotonic_ns()
        self._heartbeats.look(looked, self._clock.worked_ns() if self._heartbeats else 0)
        for fd, mask in self._ready():
            if fd == self._kernel.fileno():
                died = True
            elif fd == self._exits.fileno():
                exited = True
            elif fd == self._survivors_fd:
                self._check_tenure()
            else:
                self._clients.ready(fd, mask)
        if self._evicted:
            return
        self._work(self._deaths() if died else [], looked)
        if exited:
            self._note_exits()
        self._clients.resume()
        self._bell.ring_if_due()

    def _ready(self) -> list[tuple[int, int]]:
        """The events that have come. Waking a sleeping processor takes as long as a commit, and a client that has just
        been answered often asks again; so after an answer the loop polls for a moment, yielding to other processes, and
        then sleeps."""
        now = self._clock.monotonic()
        if now < self._awake_until and not self._requests and self._awake.may_begin(now):
            while not (ready := self._epoll.poll(0, 1024)):
                if not self._awake.may_go_on(now) or (now := self._clock.monotonic()) >= self._awake_until:
                    break
            else:
                return ready
        return self._epoll.poll(0 if self._requests else self._seconds_left(), 1024)

    def _seconds_left(self) -> float:
        """Until something is due that has no event."""
        left = self._tick_seconds()
        if (due := self._heartbeats.next_due()) is not None:
            left = min(left, max(0.0, (due - self._clock.monotonic_ns()) / 1e9))
        if (look := self._heartbeats.look_seconds()) is not None:
            left = min(left, look)
        if (ring := self._bell.seconds_left()) is not None:
            left = min(left, ring)
        return left

    def _deaths(self) -> list[Death]:
        """So many that their cleanup, which holds what they have registered, is a small batch."""
        noticed = self._clock.monotonic_ns()
        most = DEAD_ENTRIES * len(self._kernel) // max(1, self._committer.own_entries)
        return [Death(owner, noticed) for owner in self._kernel.deaths(max(1, min(most, MOST_DEATHS)))]

    def _note_exits(self) -> None:
        """A batch of their own, after the one that waits for no exit."""
        exits = [Exit(*one) for one in self._exits.exits()]
        if not exits:
            return
        before = self._committer.commits
        try:
            self._committer.commit(Batch(exits=exits), self._reply)
        except AdsumError as error:
            # An exit may stay unknown.
            self._log.warning("%d exits could not be noted: %s", len(exits), error)
        if self._committer.commits != before:
            self._bell.changed()

    def _work(self, deaths: list[Death], looked: int = 0) -> None:
        """One batch. `looked` is when this turn began to read sockets: every heartbeat from before it was read."""
        calls = self._clients.calls(MAX_BATCH)
        ended = self._sessions.take_ended()
        # A heartbeat that is still in the backlog, or that came in while this process was stopped, is not late.
        late = [] if self._requests else self._members.late(looked)
        if not (deaths or calls or ended or late):
            return
        self._commit(deaths, ended, calls, late, self._clock.monotonic())

    def _commit(
        self,
        deaths: list[Death],
        ended: list[EndedSession],
        calls: list[Call],
        late: list[Lateness],
        began: float,
    ) -> None:
        """Commit one batch. Where it is postponed, the next attempt waits for a time that follows from `began`."""
        before, self._has_replied = self._committer.commits, False
        try:
            self._committer.commit(Batch(deaths, ended, calls, late), self._reply)
        except AdsumError as error:
            self._log.error("a batch could not be committed: %s", error)
            self._reply(self._committer.refuse(calls, error))
            self._heartbeats.retry(late, self._clock.monotonic_ns())
            for death in deaths:
                self._kernel.unwatch(death.owner)
            self._postponed.add(deaths, ended, self._generations.current, began, self._clock.monotonic())
        if self._evicted:
            return
        if self._committer.commits != before:
            self._bell.changed()
        # Yielding to a herd could take until all of it has run. A death makes no client ask.
        may_ask_again = self._has_replied and not self._bell.is_herd
        self._awake_until = self._clock.monotonic() + AWAKE_SECONDS if may_ask_again else 0.0

    def _reply(self, replies: list[OutgoingReply]) -> None:
        """Send the replies to a batch, unless the folder was removed or made anew: no reader can see the commit then,
        so no client may be answered."""
        if not self._evicted and self._generations.page_is_in_place():
            self._clients.reply(replies)
            self._has_replied = self._has_replied or bool(replies)
        else:
            self._evicted = True
            self.unanswered += self._committer.last_changes

    def _check_tenure(self) -> None:
        """A registrar that starts in the place of this folder asks for the members, which it gets after the end of this
        one; or a process connects that has no business here."""
        if not self._tenure.holds():
            self._evicted = True
        elif self._survivors.turn_away():
            # Until the next tick, so that another user costs this one no more than that.
            self._epoll.modify(self._survivors_fd, 0)

    # Time

    def _tick_seconds(self) -> float:
        if self._sessions.ended:
            return 0.0
        if self._kernel.scanned:
            return self._limits.cleanup_window / 3
        if self._committer.has_reservations:
            return RESERVATION_SECONDS
        return LOOK_SECONDS if self._postponed else TICK_SECONDS

    def _tick(self, now: float) -> None:
        self._clients.accept_again()
        if self._survivors_fd >= 0:
            self._epoll.modify(self._survivors_fd, select.EPOLLIN)
        if self._committer.has_reservations:
            self._end_reservations()
        if self._postponed.is_due(self._generations.current, now):
            self._clean_up_postponed()
        if self._kernel.scanned:
            noticed = self._clock.monotonic_ns()
            self._work([Death(owner, noticed) for owner in self._kernel.scan()])
        self._note_hearing()
        self._clients.drop_the_slow(self._clock.monotonic_ns())
        self._sessions.check_inherited(self._clients)
        if self._committer.commits != self._last_commits:
            self._last_commits = self._committer.commits
            self._generations.free_dead_readers()
        self._receipts.expire(self._clock.monotonic_ns())
        try:
            self._committer.store_stats(len(self._requests))
        except AdsumError as error:
            self._log.warning("the statistics could not be stored: %s", error)

    def _note_hearing(self) -> None:
        """A bridge that is stopped, or cut off from its cluster, does not say so; the time says it."""
        batch = self._hosts.hearing()
        if batch is None:
            return
        try:
            self._committer.commit(batch, self._reply)
        except AdsumError as error:
            # The next tick tries again.
            self._log.warning(
                "that the bridge hears %s could not be noted: %s", "again" if batch.hears else "nothing", error
            )
        else:
            self._bell.changed()

    def _end_reservations(self) -> None:
        before = self._committer.commits
        try:
            self._committer.commit(Batch(unreserves=True), self._reply)
        except AdsumError as error:
            # The next tick tries again.
            self._log.warning("ids could not be given to their standbys: %s", error)
        if self._committer.commits != before:
            self._bell.changed()

    def _clean_up_postponed(self) -> None:
        """Each death by itself, for there may be room for some of them. All of them are one attempt."""
        began = self._clock.monotonic()
        deaths, ended = self._postponed.take()
        for death in deaths:
            self._commit([death], [], [], [], began)
        if ended:
            self._commit([], ended, [], [], began)

    def _idle(self, now: float) -> bool:
        if self._clients or self._requests or self._committer.own_entries:
            self._idle_since = now
            return False
        return now - self._idle_since >= self._limits.linger
