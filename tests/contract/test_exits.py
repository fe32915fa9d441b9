"""`Departure.exit`: how a process ended. It may be unknown; it is never wrong."""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import Registry, admin
from adsum._client import exit_reports
from adsum._os.pidfd import read_exit
from tests.support import WITHIN, Agent, Child, eventually, stopped


@functools.cache
def kernel_keeps_exits() -> bool:
    """Whether the kernel says how a process ended after its parent has reaped it (Linux 6.15 and newer)."""
    with subprocess.Popen(["true"]) as process:
        pidfd = os.pidfd_open(process.pid)
    try:
        return read_exit(pidfd) == 0
    finally:
        os.close(pidfd)


by_the_kernel = pytest.mark.skipif(not kernel_keeps_exits(), reason="the kernel is older than Linux 6.15")


def exit_of(registry: Registry, pid: int) -> int | None:
    """The exit of the newest departure of a process; None where there is none."""
    return next((one.exit for one in registry.departures() if one.entry.pid == pid), None)


def has_exit(registry: Registry, pid: int, exit: int) -> bool:
    found = exit_of(registry, pid)
    assert found in (None, exit), f"a wrong exit: {found}"
    return found == exit


ENDS: dict[str, tuple[Callable[[Child], object], int]] = {
    "an exit code": (Child.say, 3),
    "success": (lambda child: child._input.close(), 0),
    "a signal": (lambda child: child.signal(signal.SIGKILL), -signal.SIGKILL),
}
PROGRAM = """
import sys
sys.exit(3 if sys.stdin.readline() else 0)
"""


@by_the_kernel
@pytest.mark.parametrize("how", ENDS)
def test_the_exit_of_any_process_is_known_once_it_is_reaped(either: Registry, how: str) -> None:
    """The registrar learns from the kernel how a process ended that was registered by its pid alone, by a stranger."""
    end, exit = ENDS[how]
    with Child(PROGRAM) as child:
        with Agent(either.folder) as stranger:
            stranger.do(f"registry.register('a', {child.pid})")
        end(child)
        assert child.process.wait(10) == exit
        eventually(lambda: has_exit(either, child.pid, exit))
    assert either.audit() == []


@pytest.mark.parametrize("how", ENDS)
def test_a_parent_reports_a_child_that_it_has_not_reaped(either: Registry, how: str) -> None:
    """Where a Popen was registered, its exit is known while it is a zombie, and the program's own wait gets it too."""
    end, exit = ENDS[how]
    with Child(PROGRAM) as child:
        either.register("a", child.process)
        end(child)
        eventually(lambda: has_exit(either, child.pid, exit))
        assert os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None, "it was reaped"
        assert child.process.wait(10) == exit


def _exit_as_sent(line: Connection) -> None:
    sys.exit(line.recv())


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_process_of_multiprocessing(registry: Registry, method: str) -> None:
    """Where a `multiprocessing.Process` was registered, its `exitcode` and the exit of its departure are the same."""
    context: Any = multiprocessing.get_context(method)
    line, its_end = context.Pipe()
    process = context.Process(target=_exit_as_sent, args=(its_end,))
    process.start()
    registry.register("a", process)
    line.send(7)
    process.join()
    assert process.exitcode == 7
    eventually(lambda: has_exit(registry, process.pid, 7))
    for one in (line, its_end, process):
        one.close()


def test_a_child_of_asyncio(registry_folder: Path) -> None:
    """An `asyncio` child that an `AsyncRegistry` registers has its exit, and asyncio gets it too."""

    async def run() -> None:
        async with adsum.open_async(path=registry_folder, timeout=10) as registry:
            process = await asyncio.create_subprocess_exec("sleep", "60")
            await registry.register("a", process)
            process.kill()
            assert await process.wait() == -9
            pid = process.pid
            if kernel_keeps_exits():
                await asyncio.to_thread(eventually, lambda: has_exit(registry, pid, -9))  # type: ignore[arg-type]

    asyncio.run(run())


def test_an_exit_that_nobody_can_get_is_not_taken_for_success(registry: Registry) -> None:
    """Where SIGCHLD is ignored a `Popen` says 0 of every child. The departure says the truth, or nothing."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with Child(PROGRAM) as child:
            registry.register("a", child.process)
            child.say()
            assert child.process.wait(10) == 0
            eventually(lambda: registry.departures(1))
            until = time.monotonic() + exit_reports.GIVE_UP_SECONDS + 0.2
            while time.monotonic() < until and exit_of(registry, child.pid) is None:
                time.sleep(0.01)
            assert exit_of(registry, child.pid) == (3 if kernel_keeps_exits() else None)
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize(("recorded", "reported"), [(5, [5]), (-9, [-9]), (0, [])])
def test_without_the_kernels_word_a_popens_own_counts(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, recorded: int, reported: list[int]
) -> None:
    """Where the kernel does not say it any more, the exit is what the `Popen` has recorded, if that is surely right."""
    sent: list[int] = []
    monkeypatch.setattr(exit_reports, "exit_of_child", lambda _pidfd, _pid: None)
    monkeypatch.setattr(exit_reports, "GIVE_UP_SECONDS", WITHIN if reported else 0.3)
    monkeypatch.setattr(exit_reports, "report", lambda _folder, _owner, code, _seconds: sent.append(code))
    with Child(f"import os; input(); os.kill(os.getpid(), 9) if {recorded} < 0 else os._exit({recorded})") as child:
        registry.register("a", child.process)
        child.say()
        assert child.process.wait(10) == recorded
        eventually(lambda: not registry._client.exit_reports._children)
    assert sent == reported


def test_an_exit_is_noted_at_most_once(registry: Registry) -> None:
    """The first report of an exit counts, also beside that of the kernel; a later one changes nothing."""
    with Child("input()") as child:
        entry = registry.register("a", child.pid).entry
        child.kill_unreaped()
        assert admin.report_exit(registry.folder, entry.owner, 11)
        assert not admin.report_exit(registry.folder, entry.owner, 12)
        child.process.wait()
        # The kernel's report of the reaping is there before this write is answered, or with it.
        registry.register("b").unregister()
        registry.register("b").unregister()
    assert exit_of(registry, child.pid) == 11


def test_a_living_process_has_no_exit(registry: Registry) -> None:
    """A report about a process that is alive, or that the registry does not know, changes nothing."""
    with Child("input()") as child:
        entry = registry.register("a", child.pid).entry
        assert not admin.report_exit(registry.folder, entry.owner, 1)
        assert registry["a"] == entry
        assert registry.departures() == []
    assert not admin.report_exit(registry.folder, entry.owner._replace(pid=2**22 + 1), 1)


def test_all_entries_of_a_process_have_its_exit_and_no_others(registry: Registry) -> None:
    """Each entry that ended by the death has the exit; one that was unregistered before has none."""
    with Child("input()") as child, Child("input()") as other:
        for id in ("a", "b", "c"):
            registry.register(id, child.pid)
        registry.register("d", other.pid)
        registry.unregister("b")
        owner = registry["a"].owner
        child.kill_unreaped()
        other.kill_unreaped()
        assert admin.report_exit(registry.folder, owner, -9)
        eventually(lambda: len(registry.departures()) == 4)
        found = {one.entry.process_id.local_id: (one.how, one.exit) for one in registry.departures()}
    assert found == {"a": ("died", -9), "b": ("unregistered", None), "c": ("died", -9), "d": ("died", None)}


def test_a_report_may_be_the_first_word_of_a_death(registry: Registry) -> None:
    """A registrar that reads the report of an exit before it looks at deaths removes the entries with it."""
    with Child("input()") as child:
        owner = registry.register("a", child.pid).entry.owner
        with stopped(registry.folder):
            child.kill_unreaped()
        assert admin.report_exit(registry.folder, owner, -9)
        (departure,) = registry.departures()
        assert (departure.how, departure.exit) == ("died", -9)
        assert departure.detection > 0


def test_a_died_event_has_the_exit_once_it_is_known(either: Registry) -> None:
    """A watch that reads the change after the exit is known gives it in the event; other kinds of events have none."""
    with Child("input()") as child:
        owner = either.register("a", child.pid).entry.owner
        child.kill_unreaped()
        assert admin.report_exit(either.folder, owner, -9)
        either.register("b").unregister()
    with adsum.open(path=either.folder) as other, other.watch(since=0) as watch:
        events = [watch.next(timeout=10) for _ in range(4)]
    assert [(event.kind.value, event.exit) for event in events] == [
        ("registered", None),
        ("died", -9),
        ("registered", None),
        ("unregistered", None),
    ]


def test_a_forked_child_reports_nothing(registry: Registry) -> None:
    """A child that was forked holds no descriptor and no thread for the children of its parent."""
    with Child("input()") as child:
        registry.register("a", child.process)
        (expected,) = registry._client.exit_reports._children.values()
        pid = os.fork()
        if not pid:
            code = 1
            try:
                left = registry._client.exit_reports
                code = 0 if not left._children and left._thread is None and not expected.pidfd.is_ours() else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        child.kill_unreaped()
        eventually(lambda: has_exit(registry, child.pid, -9))


def test_only_so_many_children_take_a_descriptor(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program with many children keeps its descriptors for itself."""
    monkeypatch.setattr(exit_reports, "MOST_CHILDREN", 1)
    with Child("input()") as child, Child("input()") as other:
        registry.register("a", child.process)
        registry.register("b", other.process)
        assert len(registry._client.exit_reports._children) == 1


def test_the_thread_ends_with_the_last_child(registry: Registry) -> None:
    """A process whose registered children have ended has no thread for them, and none of their descriptors."""
    with Child("input()") as child:
        registry.register("a", child.process)
        assert "adsum-exits" in {thread.name for thread in threading.enumerate()}
        child.kill()
    eventually(lambda: "adsum-exits" not in {thread.name for thread in threading.enumerate()})


def test_an_exit_is_reported_once_the_registrar_answers_again(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child dies while the registrar is stopped for longer than a report may take: the thread goes on, quietly, and
    reports the exit afterwards, and that of later children too."""
    monkeypatch.setattr(exit_reports, "REPORT_SECONDS", 0.05)
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    with Child("input()") as first, Child("input()") as second:
        registry.register("first", first.process)
        registry.register("second", second.process)
        reports = registry._client.exit_reports
        with stopped(registry.folder):
            first.kill()
            eventually(lambda: reports._pause > 2 * exit_reports.FIRST_PAUSE)
        assert not raised
        eventually(lambda: [one.exit for one in registry.departures()] == [-signal.SIGKILL])
        second.kill()
        eventually(lambda: [one.exit for one in registry.departures()] == 2 * [-signal.SIGKILL])
    eventually(lambda: "adsum-exits" not in {thread.name for thread in threading.enumerate()})
