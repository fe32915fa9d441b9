"""Heartbeats in shared memory: no request, seen by all, and never in the place of a request that is needed."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import PermissionDenied, Registry, RegistryClosed
from adsum._heartbeat import LATE
from adsum._member_row import HEARTBEAT_WORDS, heartbeat_at
from adsum._store.page_layout import ROWS_AT, WORD_BYTES
from adsum.model import Entry

from ..support import Agent, Child, Opener, eventually, kill_registrar, registrar_pid, remove_folder, stopped
from .namespace import in_time_namespace

NEVER = 1000.0


def test_it_asks_no_registrar(opener: Opener, registry_folder: Path) -> None:
    """While the registrar is stopped, heartbeats are left, through each call that sends them; every process sees the
    last one at once."""
    registry = opener()
    registration = registry.register("a", heartbeat=NEVER)
    with Agent(registry_folder) as agent, stopped(registry_folder):
        for through_the_registry in (False, True):
            before = registry["a"].metadata.last_health_check
            entry = registry.heartbeat("a") if through_the_registry else registration.heartbeat()
            assert entry.metadata.last_health_check > before
            assert entry == registry["a"] == registry.find()[0] == registry.choose() == agent.value("registry['a']")
            assert agent.value("registry.find()") == [entry]


async def test_it_asks_no_registrar_in_a_loop(registry_folder: Path) -> None:
    """The same through asyncio."""
    async with adsum.open_async(path=registry_folder, timeout=10) as registry:
        registration = await registry.register("a", heartbeat=NEVER)
        with stopped(registry_folder):
            first = await registration.heartbeat()
            second = await registry.heartbeat("a")
            assert first.metadata.last_health_check < second.metadata.last_health_check
            assert registry["a"] == second


def test_no_registrar_is_started(registry: Registry, registry_folder: Path) -> None:
    """Where no registrar is alive, a heartbeat starts none, and readers judge by it."""
    registration = registry.register("a", heartbeat=0.4)
    silent = registry.register("b", heartbeat=0.4)
    kill_registrar(registry_folder)
    until = time.monotonic() + 2
    while time.monotonic() < until:
        registration.heartbeat()
        time.sleep(0.02)
    assert (registry["a"].metadata.health_status, registry["b"].metadata.health_status) == ("healthy", "unhealthy")
    assert registrar_pid(registry_folder) is None
    assert silent.entry.metadata.health_status == "healthy"


def test_the_registrar_sees_them(registry: Registry) -> None:
    """A member that leaves its heartbeats in time is never late; one that stops is."""
    registration = registry.register("a", heartbeat=0.2)
    with registry.watch("a") as watch:
        until = time.monotonic() + 2
        while time.monotonic() < until:
            registration.heartbeat()
            time.sleep(0.02)
        assert registry.stats().revision == 1
        assert watch.next(10).entry == registry["a"]
    assert registry["a"].metadata.health_status in ("degraded", "unhealthy")


def test_a_late_member_asks(registry: Registry, registry_folder: Path) -> None:
    """The heartbeat of a late member restores its status before it returns; the ones that follow are left in memory."""
    registration = registry.register("a", heartbeat=0.02)
    for _ in range(5):
        eventually(lambda: registry["a"].metadata.health_status == "unhealthy")
        entry = registration.heartbeat()
        assert (entry.metadata.health_status, registry["a"].metadata.health_status) == ("healthy", "healthy")
        registration.update(heartbeat=NEVER)
        with stopped(registry_folder):
            registration.heartbeat()
        registration.update(heartbeat=0.02)


def test_what_is_stored_afterwards_has_the_last_one(registry: Registry, registry_folder: Path) -> None:
    """An update, an event and a departure have the last heartbeat, though only shared memory had it."""
    with Agent(registry_folder) as agent:
        agent.do("a = registry.register('a', heartbeat=1000)")
        with registry.watch("a") as watch:
            last: Entry = agent.value("a.heartbeat()")
            assert registry.update("a", endpoint="x").metadata.last_health_check == last.metadata.last_health_check
            assert watch.next(10).entry == registry["a"]
            last = agent.value("a.heartbeat()")
            agent.kill()
            ended = watch.next(10).entry
        assert ended is not None
        assert ended.metadata.last_health_check == last.metadata.last_health_check
        assert registry.departures(1)[0].entry == ended
    assert registry.audit() == []


def test_a_promise_may_come_and_go(registry: Registry, registry_folder: Path) -> None:
    """A promise that an update makes, or takes back, counts at once; so does one of a member with gauges."""
    for gauges in ({}, {"load": 1.0}):
        registration = registry.register("a", replace=True, gauges=gauges)
        before = registration.heartbeat()
        registration.update(heartbeat=NEVER)
        registration.heartbeat()
        with stopped(registry_folder):
            entry = registration.heartbeat()
            assert entry.metadata.last_health_check > before.metadata.last_health_check
        registration.update(heartbeat=None)
        assert registry["a"].metadata.last_health_check == entry.metadata.last_health_check
        assert registration.heartbeat().metadata.last_health_check > entry.metadata.last_health_check


def test_it_survives_the_registrar(registry: Registry, registry_folder: Path) -> None:
    """The next registrar goes on where the one before was killed, and the last heartbeat is not lost."""
    registration = registry.register("a", heartbeat=NEVER)
    for _ in range(3):
        entry = registration.heartbeat()
        kill_registrar(registry_folder)
        registry.register("b", replace=True)
        assert registry["a"] == entry
        with stopped(registry_folder):
            assert registration.heartbeat().metadata.last_health_check > entry.metadata.last_health_check


def test_a_lost_board_loses_no_promise(registry: Registry, registry_folder: Path) -> None:
    """Where the file is removed, or the registrar makes it anew, heartbeats go on."""
    registration = registry.register("a", heartbeat=0.2)
    registration.heartbeat()
    (registry_folder / "board").unlink()
    kill_registrar(registry_folder)
    registry.register("b")
    until = time.monotonic() + 1
    while time.monotonic() < until:
        assert registration.heartbeat() == registry["a"]
        assert registry["a"].metadata.health_status == "healthy"
        time.sleep(0.02)


def test_only_its_owner_leaves_it(registry: Registry, registry_folder: Path) -> None:
    """Another process cannot, not even a child that Python did not see being forked."""
    with Agent(registry_folder) as agent:
        agent.do("import ctypes, os; a = registry.register('a', heartbeat=1000); a.heartbeat()")
        before = registry["a"]
        with pytest.raises(PermissionDenied):
            registry.heartbeat("a")
        forked = """
pid = {fork}()
if not pid:
    try:
        a.heartbeat()
    except adsum.PermissionDenied:
        os._exit(3)
    finally:
        os._exit(4)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
        for fork in ("os.fork", "ctypes.CDLL(None).fork"):
            agent.do("import adsum\n" + forked.format(fork=fork))
            assert agent.value("code") == 3, fork
        assert registry["a"] == before


def test_garbage_hurts_only_its_own_row(registry: Registry, registry_folder: Path) -> None:
    """A process that writes garbage into a member's row makes it seem late at most, until its next heartbeat: nothing
    raises, and no time appears at which it sent none. The seed is printed."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    victim, other = registry.register("victim", heartbeat=NEVER), registry.register("other", heartbeat=NEVER)
    unhurt = other.heartbeat()
    at = WORD_BYTES * (ROWS_AT + heartbeat_at(victim.entry.row_place))
    with (registry_folder / "board").open("r+b", buffering=0) as board:
        for _ in range(100):
            entry = victim.heartbeat()
            os.pwrite(board.fileno(), chance.randbytes(WORD_BYTES * HEARTBEAT_WORDS), at)
            seen = registry["victim"].metadata.last_health_check
            assert victim.entry.registered_at <= seen <= entry.metadata.last_health_check
            assert victim.heartbeat() == registry["victim"]
            assert registry["other"] == unhurt
        os.pwrite(board.fileno(), bytes(WORD_BYTES), at + WORD_BYTES * LATE)
    assert victim.heartbeat() == registry["victim"]


def _beat(folder: str) -> None:
    with adsum.open(path=folder, timeout=10) as registry:
        registration = registry.register("a", heartbeat=1000)
        for _ in iter(input, ""):
            print(registration.heartbeat() == registry["a"])


@pytest.mark.parametrize("seconds", [-600, 600])
def test_another_clock(seconds: int, registry: Registry, registry_folder: Path) -> None:
    """A member in another time namespace, whose clock the registrar does not know, sends requests."""
    unshare = in_time_namespace(seconds)
    registry.register("first")
    with Child(_beat, registry_folder, prefix=unshare) as child:
        child.say("beat")
        child.expect("True")
        revision = registry.update("a", heartbeat=0.3).revision
        until = time.monotonic() + 1
        while time.monotonic() < until:
            child.say("beat")
            child.expect("True")
            time.sleep(0.01)
        assert registry["a"].revision == revision, "it was late"
        child.say("")


def test_a_closed_registry_leaves_none(opener: Opener) -> None:
    """After `close` a heartbeat raises, as every write does."""
    registry = opener()
    registration = registry.register("a", heartbeat=NEVER)
    registration.heartbeat()
    registry.close()
    with pytest.raises(RegistryClosed):
        registration.heartbeat()


@pytest.mark.parametrize("by_thread", [False, True])
def test_they_go_on_in_a_folder_that_is_made_anew(registry: Registry, registry_folder: Path, by_thread: bool) -> None:
    """A member whose folder was removed comes back, and its heartbeats are left in the new one."""
    registration = registry.register("a", heartbeat="thread" if by_thread else 0.5)
    registration.heartbeat()
    remove_folder(registry_folder)

    def beat() -> None:
        if not by_thread:
            registration.heartbeat()

    def is_back() -> bool:
        beat()
        with adsum.open(path=registry_folder) as other:
            return "a" in other

    eventually(is_back)
    until = time.monotonic() + 3
    while time.monotonic() < until:
        beat()
        time.sleep(0.02)
    with Agent(registry_folder) as agent:
        entry: Entry = agent.value("registry['a']")
        assert entry.metadata.health_status == "healthy"
        assert entry.metadata.last_health_check > entry.registered_at


def test_a_promise_that_is_taken_back_costs_nothing(registry: Registry, registry_folder: Path) -> None:
    """The thread sends no heartbeat for a member that promises none any more, and does when it promises some again."""
    registration = registry.register("a", heartbeat="thread")
    registration.update(heartbeat=None)
    kill_registrar(registry_folder)
    time.sleep(1.5)
    assert registrar_pid(registry_folder) is None
    checked = registration.update(heartbeat=1.0).metadata.last_health_check
    eventually(lambda: registry["a"].metadata.last_health_check > checked)


@pytest.mark.parametrize("timeout", [-1, "soon", float("nan"), True])
def test_an_impossible_timeout_is_refused(opener: Opener, timeout: Any) -> None:
    """Also where there is nothing to wait for."""
    registry = opener()
    registration = registry.register("a", heartbeat=NEVER)
    with pytest.raises(ValueError, match="timeout="):
        registration.heartbeat(timeout=timeout)
    with pytest.raises(ValueError, match="timeout="):
        registry.heartbeat("a", timeout=timeout)
