"""The exit of a process that becomes known only after its death, in the departures of other hosts."""

from __future__ import annotations

import signal
import time

import pytest

from adsum import Departure, Entry
from adsum import _wire as wire
from adsum._bridge.exits import LOOK_SECONDS
from tests.contract.test_exits import by_the_kernel
from tests.support.children import Child
from tests.support.waiting import eventually

from .host_processes import SOON, Host, Hosts

WAITS = "import sys; sys.stdin.readline()"


def departed(host: Host, name: str, exit: int | None) -> Departure:
    """Wait until the newest departure of this name has this exit."""

    def found() -> Departure | None:
        last = next((one for one in host.registry.departures() if one.entry.process_id.local_id == name), None)
        assert last is None or last.exit in (None, exit), f"a wrong exit: {last}"
        return last if last is not None and last.exit == exit else None

    last = eventually(found, SOON)
    assert last is not None
    return last


def quiet() -> None:
    """The looks that the changes so far have caused are over: what is noted now has to be noticed by itself."""
    time.sleep(10 * LOOK_SECONDS)


def report(host: Host, entry: Entry, code: int) -> bool:
    """What the parent of a process reports, or `adsum run`."""
    return host.registry._client.pool.ask(wire.ExitOf(owner=entry.owner, code=code), 10.0).changed


def test_an_exit_reaches_other_hosts_after_the_death(hosts: Hosts) -> None:
    """A process dies and is reaped later: other hosts have the departure at once, and its exit when it is known. It is
    no event, and about that registration alone, also where the id is held anew."""
    a, b = hosts.add("a"), hosts.add("b")
    with Child(WAITS) as child:
        entry = a.registry.register("w", child.pid).entry
        b.sees(a, "w")
        child.signal(signal.SIGKILL)
        assert departed(b, "w", None).how == "died"
        a.registry.register("w")
        b.sees(a, "w")
        quiet()
        with b.registry.watch() as watch:
            assert report(a, entry, -9)
            departure = departed(b, "w", -9)
            a.registry.register("marker")
            event = watch.next(SOON)
    assert event.entry is not None
    assert event.entry.process_id.local_id == "marker", "no event of the exit"
    assert (departure.entry.origin and departure.entry.origin.incarnation) == entry.incarnation
    assert [(one.entry.process_id.local_id, one.exit) for one in b.registry.departures()] == [("w", -9)]
    assert b.registry.audit() == []


@by_the_kernel
def test_an_exit_of_the_kernel_reaches_other_hosts(hosts: Hosts) -> None:
    """Without a report: the registrar learns it when the parent has reaped the process."""
    a, b = hosts.add("a"), hosts.add("b")
    with Child("import sys; sys.stdin.readline(); sys.exit(7)") as child:
        a.registry.register("w", child.pid)
        b.sees(a, "w")
        child.say()
        assert departed(b, "w", None).how == "died"
        quiet()
        assert child.process.wait(10) == 7
        departed(b, "w", 7)


@pytest.mark.parametrize("ends", ["bridge", "lease"])
def test_an_exit_that_becomes_known_while_a_bridge_does_not_publish(hosts: Hosts, ends: str) -> None:
    """The bridge has published the death; it is stopped until its lease is lost, and writes the exit under the next
    fence. One that was killed knows nothing of the death, and the exit stays unknown there: it is never a wrong one."""
    a, b = hosts.add("a"), hosts.add("b")
    with Child(WAITS) as child:
        entry = a.registry.register("w", child.pid).entry
        a.registry.register("stays")
        b.sees(a, "w")
        b.sees(a, "stays")
        child.signal(signal.SIGKILL)
        departed(b, "w", None)
        if ends == "bridge":
            a.bridge.kill()
        else:
            a.bridge.stop()
        assert report(a, entry, -9)
        if ends == "bridge":
            a.bridge.start()
            a.bridge.wait_until_publishing()
        else:
            b.misses(a, "stays")
            a.bridge.resume()
        a.registry.register("marker").published(SOON)
        b.sees(a, "marker")
        departed(b, "w", None if ends == "bridge" else -9)
