"""How members ended while no bridge saw it: the next one asks the departures of the registry."""

from __future__ import annotations

import os
import signal

from adsum import Departure, Kind
from adsum._store.history import MAX_HISTORY
from tests.support.children import Child
from tests.support.waiting import eventually

from .host_processes import SOON, Host, Hosts

WAITS = "import sys; sys.stdin.readline()"


def ends(host: Host, name: str) -> list[Departure]:
    """The departures of this name, the oldest first."""
    return [one for one in reversed(host.registry.departures()) if one.entry.process_id.local_id == name]


def has_exit(host: Host, name: str) -> None:
    """Wait until the newest departure of this name is that of a killed process."""
    eventually(lambda: [one.exit for one in ends(host, name)][-1:] == [-9], SOON)


def test_members_that_end_while_no_bridge_runs(hosts: Hosts) -> None:
    """Each has ended elsewhere as it did here: a death is an event ``died``, with its exit."""
    a, b = hosts.add("a"), hosts.add("b")
    with Child(WAITS) as dies, Child(WAITS) as takes, Child(WAITS) as returns:
        a.registry.register("dies", dies.pid)
        a.registry.register("removed")
        handed = a.registry.register("handed", os.getpid())
        passed_on = a.registry.register("passed on", os.getpid())
        a.registry.register("anew", returns.pid)
        for name in ("dies", "removed", "handed", "passed on", "anew"):
            b.sees(a, name)
        with b.registry.watch() as watch:
            a.bridge.kill()
            a.registry.unregister("removed")
            handed.hand_over(takes.pid)
            passed_on.hand_over(dies.pid)
            for child in (dies, returns):
                child.signal(signal.SIGKILL)
                child.process.wait()
            for name in ("dies", "passed on", "anew"):
                has_exit(a, name)
            a.registry.register("anew")
            a.bridge.start()
            a.bridge.wait_until_publishing()
            b.copies(a)
            kinds: dict[str, list[str]] = {}
            while watch.revision < b.registry.stats().revision:
                event = watch.next(SOON)
                assert event.entry is not None
                kinds.setdefault(event.entry.process_id.local_id, []).append(event.kind.value)
        assert kinds == {
            "dies": ["died"],
            "removed": ["unregistered"],
            "handed": ["updated"],
            "passed on": ["died"],
            "anew": ["died", "registered"],
        }
        for name in ("dies", "passed on", "anew"):
            assert [(one.how, one.exit) for one in ends(b, name)] == [("died", -9)]
    assert b.registry.audit() == []


def test_members_that_end_before_changes_that_a_bridge_has_missed(hosts: Hosts) -> None:
    """A bridge that was stopped for longer than the history holds has no events, and asks the departures, too."""
    a, b = hosts.add("a", ttl=60.0), hosts.add("b")
    with Child(WAITS) as child:
        a.registry.register("w", child.pid)
        changes = a.registry.register("changes")
        b.sees(a, "w")
        with b.registry.watch(a.id("w")) as watch:
            a.bridge.stop()
            child.signal(signal.SIGKILL)
            child.process.wait()
            has_exit(a, "w")
            for number in range(MAX_HISTORY + 1):
                changes.update(doing=str(number))
            a.bridge.resume()
            assert watch.next(SOON).kind is Kind.died
        assert [(one.how, one.exit) for one in ends(b, "w")] == [("died", -9)]
    assert b.registry.audit() == []
