"""What follows the members and waits for them, while hosts cannot be reached and come back."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

import adsum
from adsum import Entry, Reach
from tests.support.waiting import eventually

from .host_processes import SOON, Host, Hosts


def names(members: Iterator[adsum.ProcessId] | adsum.LiveEntries | adsum.AsyncLiveEntries) -> list[str]:
    return [id.local_id for id in members]


@contextmanager
def unreachable(host: Host, *, at: Host) -> Iterator[None]:
    """The host cannot be reached from the other one within the block."""
    host.bridge.stop()
    try:
        eventually(lambda: not at.registry.find(node=host.name), SOON)
        yield
    finally:
        host.bridge.resume()


@contextmanager
def begun(wait: Callable[[], Entry | list[Entry] | None]) -> Iterator[Future[Entry | list[Entry] | None]]:
    """A call that waits in a thread."""
    with ThreadPoolExecutor(1) as pool:
        started = threading.Event()

        def call() -> Entry | list[Entry] | None:
            started.set()
            return wait()

        future = pool.submit(call)
        started.wait(SOON)
        yield future


@pytest.mark.parametrize("unreachable_too", [False, True])
def test_a_followed_mapping_is_what_find_gives_when_a_host_was_away(hosts: Hosts, unreachable_too: bool) -> None:
    """Members that register anywhere while a host is unreachable are in it, and those that end are not."""
    a, b = hosts.add("a"), hosts.add("b")
    x, y = a.registry.register("x"), a.registry.register("y")
    b.copies(a)
    with b.registry.follow(unreachable=unreachable_too) as team:
        assert names(team) == ["x", "y"]
        b.registry.register("here-1")
        with unreachable(a, at=b):
            assert dict(team) == {one.process_id: one for one in b.registry.find(unreachable=unreachable_too)}
            assert names(team) == (["x", "y", "here-1"] if unreachable_too else ["here-1"])
            assert [team[id].reach is Reach.unreachable for id in team] == [True, True, False][-len(team) :]
            a.registry.register("s1")
            y.unregister()
        team.wait(lambda team: a.id("s1") in team and a.id("y") not in team, SOON)
        b.copies(a)
        assert names(team) == ["s1", "x", "here-1"]
        assert dict(team) == {one.process_id: one for one in b.registry.find()}
        x.unregister()
        team.wait(lambda team: a.id("x") not in team, SOON)
        b.registry.register("here-2")
        assert names(team) == ["s1", "here-1", "here-2"]


async def test_an_awaited_mapping_is_what_find_gives_when_a_host_was_away(hosts: Hosts) -> None:
    """An awaited mapping drops the members of a host that cannot be reached, and has them again, with new ones, after
    it."""
    a, b = hosts.add("a"), hosts.add("b")
    a.registry.register("x")
    b.copies(a)
    async with adsum.open_async(path=b.folder, node="b", cluster="") as registry, registry.follow() as team:
        assert names(team) == ["x"]
        with unreachable(a, at=b):
            assert names(team) == []
            a.registry.register("s1")
        await team.wait(lambda team: a.id("s1") in team, SOON)
        assert names(team) == names(iter(registry)) == ["s1", "x"]


def test_a_member_that_cannot_be_reached_is_not_gone(hosts: Hosts) -> None:
    """`wait_until_gone` goes on waiting while the host of the member is unreachable, also when it begins then; it ends
    when the host is back and the member has ended."""
    a, b = hosts.add("a"), hosts.add("b")
    x = a.registry.register("x")
    b.copies(a)
    with begun(lambda: b.registry.wait_until_gone(a.id("x"), SOON)) as before:
        with unreachable(a, at=b):
            with pytest.raises(adsum.Timeout, match="its host a cannot be reached"):
                b.registry.wait_until_gone(a.id("x"), 0.5)
            assert not before.done()
        b.sees(a, "x")
        assert not before.done()
        with unreachable(a, at=b), begun(lambda: b.registry.wait_until_gone(a.id("x"), SOON)) as meanwhile:
            x.unregister()
            with pytest.raises(TimeoutError):
                meanwhile.result(0.5)
            assert not before.done()
            a.bridge.resume()
            for waiting in (before, meanwhile):
                last = waiting.result(SOON)
                assert isinstance(last, Entry)
                assert last.process_id == a.id("x")


async def test_an_awaited_end_is_not_the_loss_of_a_host(hosts: Hosts) -> None:
    """An awaited wait for an end times out while the host cannot be reached, and returns when the member has ended."""
    a, b = hosts.add("a"), hosts.add("b")
    a.registry.register("x")
    b.copies(a)
    async with adsum.open_async(path=b.folder, node="b", cluster="") as registry:
        with unreachable(a, at=b):
            with pytest.raises(adsum.Timeout, match="its host a cannot be reached"):
                await registry.wait_until_gone(a.id("x"), 0.5)
            a.registry.unregister("x")
        assert await registry.wait_until_gone(a.id("x"), SOON) is not None


def test_the_command_that_waits_for_an_end_goes_on_waiting(hosts: Hosts) -> None:
    """`adsum wait --gone` does not take a member for gone whose host cannot be reached."""
    a, b = hosts.add("a"), hosts.add("b")
    a.registry.register("x")
    b.copies(a)
    command = [sys.executable, "-m", "adsum", "wait", "--gone", "default/a/x", "--path", str(b.folder), "--timeout"]
    with unreachable(a, at=b):
        done = subprocess.run([*command, "1"], capture_output=True, text=True, timeout=SOON)
        assert (done.returncode, done.stdout) == (1, ""), done
        assert "its host a cannot be reached" in done.stderr
    b.sees(a, "x")
    a.registry.unregister("x")
    done = subprocess.run([*command, str(SOON)], capture_output=True, text=True, timeout=2 * SOON)
    assert done.returncode == 0, done


def test_a_member_is_waited_for_until_its_host_is_back(hosts: Hosts) -> None:
    """`wait_for` ends when the host can be reached again, though no member of it has changed. With `unreachable` it has
    the member at once."""
    a, b = hosts.add("a"), hosts.add("b")
    a.registry.register("x")
    b.copies(a)
    with (
        unreachable(a, at=b),
        begun(lambda: b.registry.wait_for(a.id("x"), SOON)) as one,
        begun(lambda: b.registry.wait_for(count=1, timeout=SOON)) as team,
    ):
        entry = b.registry.wait_for(a.id("x"), 5, unreachable=True)
        assert entry.reach is Reach.unreachable
        assert not one.done()
        assert not team.done()
        a.bridge.resume()
        for waiting in (one, team):
            assert waiting.result(SOON)
