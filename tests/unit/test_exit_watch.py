"""The registrar's wait for exits: real processes, few descriptors."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from adsum._os import exit_watch, identity
from adsum._os.death_watch import DeathWatch
from adsum._os.exit_watch import ExitWatch
from adsum._os.pidfd import read_exit
from adsum.model import Owner
from tests.contract.test_exits import by_the_kernel
from tests.support import Child, eventually

pytestmark = by_the_kernel


@pytest.fixture
def exits() -> Iterator[ExitWatch]:
    watch = ExitWatch()
    yield watch
    watch.close()


@pytest.fixture
def deaths(exits: ExitWatch) -> Iterator[DeathWatch]:
    watch = DeathWatch(exits)
    yield watch
    watch.close()


def owner_of(child: Child) -> Owner:
    owner = identity.identify(child.pid)
    assert owner is not None
    return owner


def test_an_exit_is_reported_once_after_the_reaping(deaths: DeathWatch, exits: ExitWatch) -> None:
    """Nothing is reported of a zombie. Its exit is reported when it was reaped, once, and its descriptor is closed."""
    before = set(os.listdir("/proc/self/fd"))
    with Child("input(); raise SystemExit(5)") as child:
        owner = owner_of(child)
        assert deaths.watch(owner)
        child.say()
        assert eventually(deaths.deaths) == [owner]
        deaths.unwatch(owner)
        assert (exits.exits(), len(exits)) == ([], 1)
        child.process.wait(10)
        assert eventually(exits.exits) == [(owner, 5)]
        assert (exits.exits(), len(exits)) == ([], 0)
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_living_owner_is_just_let_go(deaths: DeathWatch, exits: ExitWatch) -> None:
    """Of a process that is alive, and has no entry any more, nothing is kept."""
    with Child("input()") as child:
        owner = owner_of(child)
        assert deaths.watch(owner)
        deaths.unwatch(owner)
        assert len(exits) == 0


def test_a_living_process_has_no_exit() -> None:
    """The kernel gives no exit of a process that is alive, and none of a zombie."""
    with Child("input()") as child:
        pidfd = os.pidfd_open(child.pid)
        try:
            assert read_exit(pidfd) is None
            child.kill_unreaped()
            assert read_exit(pidfd) is None
        finally:
            os.close(pidfd)


@pytest.mark.parametrize("by", ["the bound", "the living"])
def test_the_oldest_give_way(deaths: DeathWatch, exits: ExitWatch, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """A process that is never reaped keeps no descriptor from others: the oldest is given up, its exit not known."""
    if by == "the bound":
        monkeypatch.setattr(exit_watch, "MOST_KEPT", 1)
    else:
        deaths.capacity = 1
    with Child("input()") as one, Child("input()") as other:
        owners = [owner_of(one), owner_of(other)]
        for child, owner in zip((one, other), owners, strict=True):
            assert deaths.watch(owner)
            assert owner not in deaths.scanned
            child.kill_unreaped()
            deaths.unwatch(owner)
        assert len(exits) == 1
        one.process.wait()
        other.process.wait()
        assert eventually(exits.exits) == [(owners[1], -9)]
