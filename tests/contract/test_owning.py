"""Owned entries: an entry ends with the process of another member."""

from __future__ import annotations

import json
import os
import threading

import msgspec
import pytest

import adsum
from adsum import DeadProcess, Kind, NotRegistered, Registry
from adsum.cluster_records import Origin
from tests.support import Agent, Child, eventually


def test_an_owned_entry_ends_with_the_owner(either: Registry) -> None:
    """The death of the owner ends its own entries and those that it owns: consecutive revisions, seen all or none."""
    with Child("input()") as planner, Child("input()") as tool, either.watch() as watch:
        either.register("planner", planner.process)
        entry = either.register("tool", tool.process, owned_by="planner").entry
        other = either.register("other", tool.process).entry
        assert entry.owned_by is not None
        assert (entry.owned_by.process_id, entry.owned_by.pid) == (either["planner"].process_id, planner.pid)
        assert (entry.owned_by.incarnation, other.owned_by) == (either["planner"].incarnation, None)
        planner.kill()
        events = [watch.next(timeout=10) for _ in range(5)]
        assert [event.kind for event in events][3:] == [Kind.died, Kind.unregistered]
        assert [int(event.revision) for event in events][3:] == [4, 5]
        assert [id.local_id for id in either] == ["other"]
        how = {one.entry.process_id.local_id: (one.how, one.detection > 0) for one in either.departures()}
        assert how == {"planner": ("died", True), "tool": ("owner_died", True)}
        assert tool.process.poll() is None
        assert either.audit() == []


def test_every_call_that_registers_takes_an_owner(either: Registry) -> None:
    """`register_many`, `get_or_register` and `register_nowait` know `owned_by`, too."""
    with Child("input()") as planner:
        owner = either.register("planner", planner.process).entry
        either.register_many([("a", {}), ("b", {})], owned_by=owner)
        assert either.get_or_register("c", owned_by="planner")[0].owned_by == either["a"].owned_by
        assert either.get_or_register("a", owned_by="planner")[1] is False
        planner.kill()
        eventually(lambda: len(either) == 0)
        assert {one.how for one in either.departures()} == {"died", "owner_died"}


def test_register_nowait_takes_an_owner(registry: Registry) -> None:
    """A registration that is not waited for can be owned."""
    owner = registry.register("planner").entry
    owned_by = registry.register_nowait("a", owned_by=owner).result(timeout=10).entry.owned_by
    assert owned_by is not None
    assert owned_by.owner == owner.owner


def test_the_owner_need_not_stay_registered(either: Registry) -> None:
    """An entry ends with the process of its owner, whether that is still registered or not."""
    with Child("input()") as planner:
        either.register("planner", planner.process)
        either.register("tool", owned_by="planner")
        either.unregister("planner")
        assert "tool" in either
        planner.kill()
        eventually(lambda: "tool" not in either)


def test_an_owned_entry_that_ends_first(either: Registry) -> None:
    """An entry that was unregistered before its owner died departs once; its id may be registered anew, unowned."""
    with Child("input()") as planner:
        either.register("planner", planner.process)
        either.register("tool", owned_by="planner").unregister()
        either.register("tool")
        planner.kill()
        # A reader knows of the death before the registrar has removed the entry.
        eventually(lambda: [one.how for one in either.departures()] == ["died", "unregistered"])
        assert either["tool"].owned_by is None


def test_a_hand_over_of_the_owner_takes_what_it_owns_along(either: Registry) -> None:
    """Where the owner is handed over to another process, what it owns ends with that one, and not with the first."""
    with Child("input()") as first, Child("input()") as second:
        planner = either.register("planner", first.process)
        before = either.register("tool", owned_by="planner").entry
        after = planner.hand_over(second.process)
        owned_by = either["tool"].owned_by
        assert owned_by is not None
        assert (owned_by.owner, owned_by.incarnation) == (after.owner, after.incarnation)
        assert either["tool"].incarnation == before.incarnation
        first.kill()
        eventually(lambda: either.stats().owners == 2)
        assert "tool" in either
        second.kill()
        eventually(lambda: "tool" not in either)


def test_an_owned_entry_is_handed_over(either: Registry) -> None:
    """An owned entry that is handed over to another process keeps its owner."""
    with Child("input()") as planner, Child("input()") as tool:
        either.register("planner", planner.process)
        registration = either.register("tool", owned_by="planner")
        assert registration.hand_over(tool.process).owned_by == registration.entry.owned_by
        planner.kill()
        eventually(lambda: "tool" not in either)


def test_a_freed_id_goes_to_a_standby(either: Registry) -> None:
    """The id of an owned entry that ended with its owner goes to the first that stands by for it."""
    with Agent(either.folder) as waiting, Child("input()") as planner:
        either.register("planner", planner.process)
        either.register("tool", owned_by="planner")
        waiting.do("waiting = registry.stand_by('tool')")
        planner.kill()
        assert waiting.value("waiting.result(9).entry.pid") == waiting.pid
        assert either["tool"].owned_by is None


def test_an_update_keeps_the_owner(either: Registry) -> None:
    """Updates, health reports and claims leave `owned_by` as it is."""
    either.register("planner")
    before = either.register("tool", owned_by="planner", slots=1).entry.owned_by
    either.update("tool", endpoint="x")
    either.update_health("tool", "degraded")
    assert either["tool"].owned_by == before


def test_an_owner_of_itself(either: Registry) -> None:
    """A process may own entries of its own; they end once, with the process."""
    with Agent(either.folder) as agent:
        agent.do("registry.register('a'); registry.register('b', owned_by='a')")
        agent.kill()
        eventually(lambda: [one.how for one in either.departures()] == ["died", "died"])
        assert len(either) == 0


def test_two_that_own_each_other(either: Registry) -> None:
    """Two members may own each other: both entries end with the first that dies."""
    with Child("input()") as one, Child("input()") as two:
        either.register("one", one.process)
        either.register("two", two.process, owned_by="one")
        either.unregister("one")
        either.register("one", one.process, owned_by="two")
        two.kill()
        eventually(lambda: len(either) == 0)
        assert [departure.how for departure in either.departures()][:2] == ["owner_died", "died"]


def test_an_owner_that_is_not_there(either: Registry) -> None:
    """An owner that is not registered is refused with `NotRegistered`, one that has died with `DeadProcess`."""
    with pytest.raises(NotRegistered, match="nobody is not registered"):
        either.register("tool", owned_by="nobody")
    with Child("input()") as planner:
        entry = either.register("planner", planner.process).entry
        planner.kill()
        with pytest.raises(NotRegistered):
            either.register("tool", owned_by="planner")
        with pytest.raises(DeadProcess, match="which was to own the entry"):
            either.register("tool", owned_by=entry)
    with pytest.raises(adsum.InvalidProcessId):
        either.register("tool", owned_by=7)  # type: ignore[arg-type]
    assert "tool" not in either


def test_a_member_of_another_host_owns_nothing(either: Registry) -> None:
    """A member of another host is refused as an owner: this kernel does not see its process end."""
    entry = either.register("planner").entry
    remote = msgspec.structs.replace(entry, pid=0, origin=Origin("far", 1, 1, 1, 1))
    with pytest.raises(adsum.InvalidProcessId, match="a member of another host"):
        either.register("tool", owned_by=remote)
    assert "tool" not in either


def test_a_thread_can_be_owned(registry: Registry) -> None:
    """An owned entry of a thread ends with the owner, too."""
    with Child("input()") as planner:
        registry.register("planner", planner.process)
        done = threading.Event()
        thread = threading.Thread(target=done.wait)
        thread.start()
        registry.register("thread", thread, owned_by="planner")
        planner.kill()
        eventually(lambda: "thread" not in registry)
        done.set()
        thread.join()


def test_the_owner_in_plain_data(either: Registry) -> None:
    """`to_dict` has the owner as plain data; None where there is none."""
    either.register("planner")
    fields = either.register("tool", owned_by="planner").entry.to_dict()
    assert json.loads(json.dumps(fields)) == fields
    assert fields["owned_by"]["process_id"]["local_id"] == "planner"
    assert fields["owned_by"]["pid"] == os.getpid()
    assert either["planner"].to_dict()["owned_by"] is None
