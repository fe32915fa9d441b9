"""Liveness while descriptors run out: every answer is right, and the bound on open descriptors holds."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from adsum._os import death_watch, identity, liveness
from adsum._os.death_watch import DeathWatch
from adsum._os.liveness import LivenessCheck
from adsum.model import Owner

from .descriptors import FewDescriptors

OWNERS = [Owner(pid, 1, 1) for pid in range(6)]
_owners = st.sampled_from(OWNERS)


class _KernelMachine(RuleBasedStateMachine):
    """Processes that start and die, and a limit on descriptors that comes and goes."""

    def boot(self) -> None:
        self.kernel = FewDescriptors()
        self.ever: set[Owner] = set()
        self.patches = ExitStack()
        close: Callable[[int], None] = os.close

        def closing(descriptor: int) -> None:
            self.kernel.closed(descriptor)
            close(descriptor)

        for module in (liveness, death_watch):
            self.patches.enter_context(patch.object(module, "open_verified", self.kernel.open_verified))
        self.patches.enter_context(patch.object(os, "close", closing))
        # The watch takes all descriptors that the system grants; this process has other tests to run.
        self.patches.enter_context(patch.object(resource, "setrlimit"))

    def teardown(self) -> None:
        if hasattr(self, "patches"):
            self.end()
            self.patches.close()
            assert not self.kernel.open

    def end(self) -> None:
        raise NotImplementedError

    @rule(owner=_owners)
    def start_a_process(self, owner: Owner) -> None:
        # An identity is never used again: a dead owner stays dead.
        if owner not in self.ever:
            self.ever.add(owner)
            self.kernel.start(owner)

    @rule(owner=_owners)
    def kill(self, owner: Owner) -> None:
        self.kernel.kill(owner)

    @rule(more=st.integers(0, 3))
    def run_short_of_descriptors(self, more: int) -> None:
        self.kernel.allowed = max(1, len(self.kernel.open) + more)

    @rule()
    def have_descriptors_again(self) -> None:
        self.kernel.allowed = 10**6


class DeathWatchMachine(_KernelMachine):
    @initialize()
    def make(self) -> None:
        self.boot()
        self.watch = DeathWatch()
        self.watched: set[Owner] = set()

    def end(self) -> None:
        for owner in list(self.watched):
            self.watch.unwatch(owner)
        self.watch._epoll.close()
        for descriptor in self.watch._spare:
            os.close(descriptor)

    @rule(owner=_owners)
    def watch_one(self, owner: Owner) -> None:
        lives = owner in self.kernel.living
        if self._can_ask(owner):
            assert self.watch.watch(owner) == lives
            self.watched |= {owner} if lives else set()

    @rule(owner=_owners)
    def ask_for_one_owner(self, owner: Owner) -> None:
        if self._can_ask(owner):
            assert self.watch.is_alive(owner) == (owner in self.kernel.living)

    @rule(owner=_owners)
    def unwatch(self, owner: Owner) -> None:
        self.watch.unwatch(owner)
        self.watched.discard(owner)

    @rule(capacity=st.integers(0, 4))
    def leave_more_or_less_to_sockets(self, capacity: int) -> None:
        self.watch.capacity = capacity

    @precondition(lambda self: len(self.kernel.open) < self.kernel.allowed)
    @rule()
    def scan(self) -> None:
        assert set(self.watch.scan()) == self.watch.scanned - self.kernel.living

    def _can_ask(self, owner: Owner) -> bool:
        """A scan takes a descriptor that is held back, which the simulated kernel does not count."""
        return len(self.kernel.open) < self.kernel.allowed or bool(self.kernel.open_for(owner))

    @invariant()
    def deaths_are_reported(self) -> None:
        if hasattr(self, "watch"):
            reported = self.watch.deaths()
            assert sorted(reported) == sorted(self.watched - self.kernel.living - self.watch.scanned)

    @invariant()
    def the_watched_owners_are_those_of_the_model(self) -> None:
        if hasattr(self, "watch"):
            assert set(self.watch) == self.watched
            assert len(self.watch) == len(self.watched)
            assert {owner for owner in OWNERS if owner in self.watch} == self.watched

    @invariant()
    def one_descriptor_is_open_for_each_that_is_not_scanned(self) -> None:
        if hasattr(self, "watch"):
            assert sorted(self.kernel.open.values()) == sorted(self.watched - self.watch.scanned)


class LivenessCheckMachine(_KernelMachine):
    @initialize(capacity=st.integers(1, 4))
    def make(self, capacity: int) -> None:
        self.boot()
        self.check = LivenessCheck(capacity)

    def end(self) -> None:
        self.check.close()

    @rule(owner=_owners)
    def ask_for_one(self, owner: Owner) -> None:
        assert self.check.is_alive(owner) == (owner in self.kernel.living)

    @rule(owners=st.sets(_owners))
    def ask_for_many(self, owners: set[Owner]) -> None:
        assert self.check.alive_among(owners) == owners & self.kernel.living

    @rule()
    def collect(self) -> None:
        self.check.collect()
        assert set(self.kernel.open.values()) <= self.kernel.living

    @invariant()
    def no_more_descriptors_are_open_than_agreed(self) -> None:
        if hasattr(self, "check"):
            assert len(self.kernel.open) <= self.check.capacity


_quick = settings(max_examples=60, stateful_step_count=40, deadline=None, print_blob=True)
TestDeathWatch = DeathWatchMachine.TestCase
TestDeathWatch.settings = _quick
TestLivenessCheck = LivenessCheckMachine.TestCase
TestLivenessCheck.settings = _quick


class _Interrupted:
    """An epoll that another thread comes between: before or after the answer to the one who asked."""

    def __init__(self, check: LivenessCheck, *, before: Callable[[], object] = int, after: Callable[[], object] = int):
        assert check._epoll is not None
        self._epoll = check._epoll
        self._before, self._after = [before], [after]

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        if self._before:
            self._before.pop()()
        died = self._epoll.poll(timeout, most)
        if self._after:
            self._after.pop()()
        return died

    def __getattr__(self, name: str) -> object:
        return getattr(self._epoll, name)


@pytest.fixture
def kernel() -> Iterator[FewDescriptors]:
    """Simulated processes, all of `OWNERS` alive."""
    simulated = FewDescriptors()
    for owner in OWNERS:
        simulated.start(owner)
    with patch.object(liveness, "open_verified", simulated.open_verified):
        yield simulated


@pytest.fixture
def check(kernel: FewDescriptors) -> Iterator[LivenessCheck]:
    """A liveness check with room for two descriptors."""
    made = LivenessCheck(capacity=2)
    yield made
    made.close()


def test_a_death_that_another_thread_collected_is_seen(kernel: FewDescriptors, check: LivenessCheck) -> None:
    """A thread that asks for a dead process gets False, although another thread collected the death in between and
    closed the descriptor."""
    assert check.is_alive(OWNERS[0])
    kernel.kill(OWNERS[0])
    with patch.object(check, "_epoll", _Interrupted(check, before=check.collect)):
        assert not check.is_alive(OWNERS[0])


def test_an_owner_whose_descriptor_made_room_is_alive(kernel: FewDescriptors, check: LivenessCheck) -> None:
    """A thread that asks for a living process gets True, although another thread closed its descriptor in between, to
    make room."""
    old, dying, *others = OWNERS
    assert check.alive_among([old, dying]) == {old, dying}
    kernel.kill(dying)
    with patch.object(check, "_epoll", _Interrupted(check, after=lambda: check.alive_among(others[:2]))):
        assert check.is_alive(old)


def test_a_number_that_a_pidfd_of_the_dead_has_taken_proves_no_death() -> None:
    """A thread that asks for a living process gets True, although another thread closed its pidfd in between, to make
    room, and the pidfd that took the number is of a process that has died."""
    with ExitStack() as ending:
        old, dying = (ending.enter_context(subprocess.Popen(["sleep", "60"])) for _ in range(2))
        for process in (old, dying):
            ending.callback(process.kill)
        owner, other = (identity.identify(process.pid) for process in (old, dying))
        assert owner is not None
        assert other is not None
        check = LivenessCheck(capacity=1)
        ending.callback(check.close)
        assert check.is_alive(owner)

        def make_room_for_one_that_dies() -> None:
            assert check.is_alive(other)
            dying.kill()
            dying.wait()

        with patch.object(check, "_epoll", _Interrupted(check, before=make_room_for_one_that_dies)):
            assert check.is_alive(owner)
