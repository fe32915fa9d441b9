"""The ports of liveness: a reader's question, and the reports of deaths."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from adsum._os import identity
from adsum._os.death_watch import DeathWatch
from adsum._os.liveness import LivenessCheck
from adsum._os.ports import DeathReports, ReaderLiveness
from adsum.model import Owner

READERS: list[Callable[[], ReaderLiveness]] = [LivenessCheck, lambda: LivenessCheck(capacity=2)]
REPORTS: list[Callable[[], DeathReports]] = [DeathWatch]


class Process:
    """A real process that sleeps."""

    def __init__(self) -> None:
        self._child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
        owner = identity.identify(self._child.pid)
        assert owner is not None
        self.owner = owner

    def kill(self) -> None:
        self._child.kill()
        self._child.wait()

    def become_a_zombie(self) -> None:
        self._child.kill()
        os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOWAIT)

    def stop(self) -> None:
        self._child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._child.pid, os.WSTOPPED | os.WNOWAIT)


@pytest.fixture
def start() -> Iterator[Callable[[], Process]]:
    """Starts processes; they are gone at the end."""
    started: list[Process] = []

    def one() -> Process:
        started.append(Process())
        return started[-1]

    yield one
    for process in started:
        process.kill()


@pytest.fixture(params=READERS, ids=["check", "check of two"])
def liveness(request: pytest.FixtureRequest) -> Iterator[ReaderLiveness]:
    """Each implementation of `ReaderLiveness`."""
    made: ReaderLiveness = request.param()
    yield made
    made.close()


@pytest.fixture(params=REPORTS, ids=["watch"])
def reports(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[DeathReports]:
    """Each implementation of `DeathReports`."""
    # An implementation may take all descriptors that the system grants; this process has other tests to run.
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    made: DeathReports = request.param()
    yield made
    made.close()


def another_life(owner: Owner) -> Owner:
    """A process that had the same pid earlier."""
    inode = owner.pidfd_inode - 1 if owner.pidfd_inode else 0
    return Owner(owner.pid, owner.start_time - 1, inode)


def test_a_running_process_is_alive_until_it_is_killed(liveness: ReaderLiveness, start: Callable[[], Process]) -> None:
    """The answer changes with the death, whether the process was asked for before or not."""
    process, other = start(), start()
    assert liveness.is_alive(process.owner)
    process.kill()
    other.kill()
    assert not liveness.is_alive(process.owner)
    assert not liveness.is_alive(other.owner)


def test_a_zombie_is_dead_and_a_stopped_process_alive(liveness: ReaderLiveness, start: Callable[[], Process]) -> None:
    """A process that has exited is dead before it is reaped; one that is stopped is not."""
    zombie, stopped = start(), start()
    assert liveness.alive_among([zombie.owner, stopped.owner]) == {zombie.owner, stopped.owner}
    zombie.become_a_zombie()
    stopped.stop()
    assert liveness.alive_among([zombie.owner, stopped.owner]) == {stopped.owner}


def test_a_reused_pid_is_another_process(liveness: ReaderLiveness, start: Callable[[], Process]) -> None:
    """The living process under a number is not the one that had the number before."""
    process = start()
    assert not liveness.is_alive(another_life(process.owner))
    assert liveness.is_alive(process.owner)


def test_many_are_asked_for_at_once(liveness: ReaderLiveness, start: Callable[[], Process]) -> None:
    """More owners than an implementation may keep are answered all the same, each once."""
    processes = [start() for _ in range(5)]
    owners = [process.owner for process in processes]
    assert liveness.alive_among([*owners, *owners, another_life(owners[0])]) == set(owners)
    processes[0].kill()
    processes[4].kill()
    assert liveness.alive_among(owners) == set(owners[1:4])
    assert liveness.alive_among([]) == set()


def test_threads_may_ask_together(liveness: ReaderLiveness, start: Callable[[], Process]) -> None:
    """Every thread gets the truth while processes die."""
    living, dying = [start() for _ in range(3)], start()
    wrong: list[Owner] = []

    def ask() -> None:
        for _ in range(200):
            wrong.extend(process.owner for process in living if not liveness.is_alive(process.owner))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    liveness.is_alive(dying.owner)
    dying.kill()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert not liveness.is_alive(dying.owner)


@pytest.mark.parametrize("make", READERS, ids=["check", "check of two"])
def test_closing_gives_every_descriptor_back(make: Callable[[], ReaderLiveness], start: Callable[[], Process]) -> None:
    """After `close` the process has the descriptors that it had before."""
    owner = start().owner
    before = os.listdir("/proc/self/fd")
    liveness = make()
    assert liveness.is_alive(owner)
    liveness.close()
    assert os.listdir("/proc/self/fd") == before


def test_a_forked_child_abandons_its_copy(liveness: ReaderLiveness, start: Callable[[], Process]) -> None:
    """The parent's answers stay right after its child has closed the copies."""
    process = start()
    assert liveness.is_alive(process.owner)
    if (child := os.fork()) == 0:
        liveness.abandon()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert liveness.is_alive(process.owner)
    process.kill()
    assert not liveness.is_alive(process.owner)


def is_readable(reports: DeathReports) -> bool:
    return bool(select.select([reports.fileno()], [], [], 0)[0])


def test_a_death_is_reported_until_it_is_unwatched(reports: DeathReports, start: Callable[[], Process]) -> None:
    """The descriptor is readable while there is a death to report, and not before."""
    dying, living = start(), start()
    assert reports.watch(dying.owner)
    assert reports.watch(living.owner)
    assert reports.deaths() == []
    assert not is_readable(reports)
    dying.become_a_zombie()
    assert is_readable(reports)
    for _ in range(2):
        assert reports.deaths() == [dying.owner]
    reports.unwatch(dying.owner)
    assert reports.deaths() == []
    assert not is_readable(reports)
    reports.unwatch(living.owner)


def test_a_dead_process_is_not_watched(reports: DeathReports, start: Callable[[], Process]) -> None:
    """Watching answers False for a process that has exited, and for an earlier one with the same number."""
    process = start()
    assert not reports.watch(another_life(process.owner))
    process.kill()
    assert not reports.watch(process.owner)
    assert not reports.is_alive(process.owner)
    assert reports.deaths() == []


def test_watching_twice_is_watching_once(reports: DeathReports, start: Callable[[], Process]) -> None:
    """One `unwatch` ends it, and unwatching again does nothing."""
    process = start()
    assert reports.watch(process.owner)
    assert reports.watch(process.owner)
    assert reports.is_alive(process.owner)
    reports.unwatch(process.owner)
    reports.unwatch(process.owner)
    process.kill()
    assert reports.deaths() == []
