"""Gauges: numbers that a member sets in shared memory, and that every reader finds there at once."""

from __future__ import annotations

import copy
import json
import math
import pickle
import subprocess
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import Entry, InvalidMetadata, InvalidQuery, NotRegistered, Registration, Registry, RegistryClosed, Stale


def test_a_gauge_is_read_at_once(either: Registry) -> None:
    """A value that was set is found by every way to read it, also in an entry that was looked up before."""
    registration = either.register("w", gauges={"load": 0.5, "queue": 3})
    before = either["w"]
    assert before.gauges == {"load": 0.5, "queue": 3.0} == dict(registration.gauges)
    registration.gauges["load"] = 0.75
    assert before.gauges == either["w"].gauges == registration.entry.gauges == {"load": 0.75, "queue": 3.0}
    assert either.gauge("w", "load") == registration.gauges["load"] == 0.75
    assert either.find()[0].gauges["load"] == 0.75
    assert before.to_dict()["gauges"] == {"load": 0.75, "queue": 3.0}


def test_metadata_keeps_the_values_of_the_registration(either: Registry) -> None:
    """``metadata.gauges`` are the values at the registration, and setting a gauge makes no revision and no event."""
    registration = either.register("w", gauges={"load": 0.5})
    with either.watch("w") as watch:
        registration.gauges["load"] = 0.75
        entry = either["w"]
        assert (entry.metadata.gauges, entry.revision) == ({"load": 0.5}, registration.entry.revision)
        either.update("w", endpoint="tcp://a:1")
        event = watch.next(timeout=10)
    assert event.kind == "updated"
    # An update leaves the gauges as they are.
    assert either["w"].gauges == {"load": 0.75}


def test_a_gauge_is_a_mapping_item(either: Registry) -> None:
    """The gauges of a registration are a mapping of fixed names."""
    gauges = either.register("w", gauges={"load": 0.5, "queue": 3}).gauges
    gauges["queue"] -= 1
    assert (list(gauges), len(gauges), "load" in gauges, "x" in gauges) == (["load", "queue"], 2, True, False)
    assert gauges == {"load": 0.5, "queue": 2.0}
    assert repr(gauges) == "<Gauges {'load': 0.5, 'queue': 2.0}>"
    with pytest.raises(KeyError, match="has no gauge 'x'; it has 'load', 'queue'"):
        gauges["x"]
    with pytest.raises(AttributeError):
        del gauges["load"]  # type: ignore[attr-defined]


def test_the_values_of_an_entry_cannot_be_set(either: Registry) -> None:
    """`Entry.gauges` has the values of one moment; setting one there is an error that says how to set a gauge."""
    either.register("w", gauges={"load": 0.5})
    with pytest.raises(TypeError, match=r"set a gauge with registration\.gauges\[name\]"):
        either["w"].gauges["load"] = 1
    assert pickle.loads(pickle.dumps(either["w"].gauges)) == {"load": 0.5}


@pytest.mark.parametrize("value", [0, -0.0, 1e308, -1e-308, math.inf, -math.inf, 2**53, 5e-324])
def test_any_float_is_kept_exactly(either: Registry, value: float) -> None:
    """Every number but NaN comes back bit by bit."""
    registration = either.register("w", gauges={"load": value})
    assert [either.gauge("w", "load"), math.copysign(1, either.gauge("w", "load"))] == [value, math.copysign(1, value)]
    registration.gauges["load"] = -value
    assert math.copysign(1, either.gauge("w", "load")) == math.copysign(1, -value)


@pytest.mark.parametrize("value", [math.nan, "1", None, True, 10**400, [1]], ids=repr)
def test_what_is_no_number_is_refused(either: Registry, value: Any) -> None:
    """An impossible value is refused with the name of the gauge, at the registration and later; the old value stays."""
    with pytest.raises(InvalidMetadata, match="load"):
        either.register("x", gauges={"load": value})
    registration = either.register("w", gauges={"load": 0.5})
    with pytest.raises(InvalidMetadata, match="load"):
        registration.gauges["load"] = value
    with pytest.raises(InvalidMetadata, match="load"):
        either.set_gauge("w", "load", value)
    assert either.gauge("w", "load") == 0.5
    assert "x" not in either


@pytest.mark.parametrize("names", [[""], ["a\0"], [str(number) for number in range(9)], ["x" * 256]])
def test_impossible_names_are_refused(either: Registry, names: list[str]) -> None:
    """A name is non-empty text of at most 255 bytes, and there are 8 at most."""
    with pytest.raises(InvalidMetadata, match=r"metadata\.gauges"):
        either.register("w", gauges=dict.fromkeys(names, 1.0))


def test_eight_gauges_are_apart(either: Registry) -> None:
    """Each of the 8 gauges has a place of its own, and so has each member."""
    names = [f"g{number}" for number in range(8)]
    registrations = [either.register(id, gauges=dict.fromkeys(names, 0)) for id in ("a", "b", "c")]
    for number, registration in enumerate(registrations):
        for position, name in enumerate(names):
            registration.gauges[name] = 10 * number + position
    for number, id in enumerate(("a", "b", "c")):
        assert either[id].gauges == {name: 10 * number + position for position, name in enumerate(names)}


def test_a_name_that_does_not_exist_is_an_error(either: Registry) -> None:
    """Reading or setting a gauge that the member does not have says which ones it has."""
    registration = either.register("w", gauges={"load": 0.5})
    either.register("v")
    with pytest.raises(InvalidQuery, match="no gauge 'lod'; it has 'load'"):
        either.gauge("w", "lod")
    with pytest.raises(InvalidQuery, match="no gauge 'lod'; it has 'load'"):
        registration.gauges["lod"] = 1
    with pytest.raises(InvalidQuery, match="give gauges= at its registration"):
        either.set_gauge("v", "load", 1)
    with pytest.raises(NotRegistered):
        either.gauge("absent", "load")
    with pytest.raises(NotRegistered):
        either.set_gauge("absent", "load", 1)


@pytest.mark.parametrize("merge", [False, True])
def test_the_names_stay(either: Registry, merge: bool) -> None:
    """An update cannot give, change or remove gauges; the error says how to set a value."""
    registration = either.register("w", gauges={"load": 0.5})
    with pytest.raises(InvalidMetadata, match=r"set a value with registration\.gauges\[name\]"):
        registration.update(gauges={"load": 1.0}, merge=merge)  # type: ignore[call-arg]
    with pytest.raises(InvalidMetadata, match="gauges"):
        either.update_many([("w", {"gauges": {"x": 1.0}})])  # type: ignore[typeddict-unknown-key]
    assert either["w"].gauges == {"load": 0.5}


def test_gauges_of_an_ended_entry(either: Registry) -> None:
    """After its end an entry has the values of its registration again, and setting one is an error."""
    registration = either.register("w", gauges={"load": 0.5})
    registration.gauges["load"] = 0.75
    entry = registration.entry
    registration.unregister()
    assert entry.gauges == {"load": 0.5}
    with pytest.raises(NotRegistered):
        registration.gauges["load"] = 1
    again = either.register("w", gauges={"load": 0.25})
    with pytest.raises(Stale) as caught:
        registration.gauges["load"] = 1
    assert caught.value.entry.incarnation == again.entry.incarnation
    assert (entry.gauges, either["w"].gauges) == ({"load": 0.5}, {"load": 0.25})


def test_registered_anew_by_the_same_process(either: Registry) -> None:
    """With ``replace=True`` the new incarnation has the gauges that it names, and no other."""
    either.register("w", gauges={"load": 0.5, "queue": 1}).gauges["load"] = 0.75
    either.register("w", gauges={"queue": 2}, replace=True)
    assert either["w"].gauges == {"queue": 2.0}


def test_values_are_handed_over(either: Registry) -> None:
    """The new holder of an id has the present values of its gauges."""
    registration = either.register("w", gauges={"load": 0.5, "queue": 1})
    registration.gauges["load"] = 0.75
    with subprocess.Popen(["sleep", "60"]) as successor:
        entry = registration.hand_over(successor)
        assert entry.gauges == either["w"].gauges == {"load": 0.75, "queue": 1.0}
        either.set_gauge("w", "load", 0.25)
        assert either["w"].gauges == {"load": 0.25, "queue": 1.0}
        with pytest.raises(Stale):
            registration.gauges["load"] = 1
        successor.kill()


def test_an_adopted_process_has_gauges(either: Registry) -> None:
    """The process that registered another one sets its gauges; so may every process that can open the registry."""
    with subprocess.Popen(["sleep", "60"]) as worker:
        registration = either.register("w", worker, gauges={"load": 0})
        registration.gauges["load"] = 1
        assert either.gauge("w", "load") == 1
        worker.kill()


def test_a_standby_has_its_gauges_when_it_is_granted(either: Registry) -> None:
    """The gauges of a standby begin with its registration."""
    with subprocess.Popen(["sleep", "60"]) as leader:
        either.register("leader", leader)
        future: Any = either.stand_by("leader", gauges={"load": 0.5})
        leader.kill()
    registration = future.result(timeout=10)
    registration.gauges["load"] = 0.75
    assert either.gauge("leader", "load") == 0.75


def test_choice_by_a_gauge(either: Registry) -> None:
    """`choose` and `find` compare members by the present values of a gauge, before a number in `resources`."""
    registrations: dict[str, Registration] = {
        id: either.register(id, gauges={"load": 0.5}, resources={"load": 99}) for id in ("a", "b", "c")
    }
    either.register("d", resources={"load": 0.4})
    for id, load in {"a": 3, "b": 2, "c": 1}.items():
        registrations[id].gauges["load"] = load
    chosen = either.choose(by="least", key="load")
    assert chosen is not None
    assert chosen.process_id.local_id == "d"
    assert [entry.process_id.local_id for entry in either.find(order_by="load")] == ["d", "c", "b", "a"]
    registrations["a"].gauges["load"] = 0
    chosen = either.choose(by="least", key="load")
    assert chosen is not None
    assert chosen.process_id.local_id == "a"
    registrations["a"].gauges["load"] = 1000
    assert either.choose(by="two_choices", key="load") is not None


def test_an_entry_with_gauges_pickles_and_compares(either: Registry) -> None:
    """An entry stays a plain value: equal, hashable and copied whatever its gauges are by now."""
    registration = either.register("w", gauges={"load": 0.5})
    entry = either["w"]
    registration.gauges["load"] = 0.75
    for twin in (pickle.loads(pickle.dumps(entry)), copy.deepcopy(entry), either["w"]):
        assert twin == entry
        assert hash(twin) == hash(entry)
        assert twin.gauges == {"load": 0.75}
    assert json.loads(json.dumps(entry.gauges)) == {"load": 0.75}


def test_a_closed_registry_sets_no_gauge(registry_folder: Path) -> None:
    """After `close` setting a gauge is refused, and an entry has the values of its registration."""
    registry = adsum.open(path=registry_folder)
    registration = registry.register("w", gauges={"load": 0.5})
    registration.gauges["load"] = 0.75
    entry: Entry = registry["w"]
    registry.close()
    with pytest.raises(RegistryClosed):
        registration.gauges["load"] = 1
    assert entry.gauges == {"load": 0.5}
