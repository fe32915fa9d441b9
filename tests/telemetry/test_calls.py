"""Each call of a registry emits an event with measurements and attributes, for both kinds of registry."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import Registry
from tests.support import Opener, eventually_awaited, stopped

from .event_log import EventLog, LoggedEvent


def _numbers(told: LoggedEvent, *names: str) -> None:
    """Check that the event has exactly these measurements, all of them plain numbers."""
    assert set(told.measurements) == set(names)
    assert all(type(value) in (int, float) for value in told.measurements.values())
    assert told.measurements.get("duration", 0) >= 0


def _words(told: LoggedEvent, registry: Registry, **words: str) -> None:
    """Check that the event has exactly these attributes and the folder, all of them plain strings."""
    assert told.attributes == {"registry": str(registry.folder), **words}
    assert all(type(value) is str for value in told.attributes.values())


def _run(either: Any, name: str, *arguments: object, meanwhile: Callable[[], object] = lambda: None) -> object:
    """The result of a call that returns a future or is awaited; `meanwhile` runs while the call is in flight."""
    if isinstance(either, Registry):
        future = getattr(either, name)(*arguments)
        meanwhile()
        return future.result(10)

    async def wait() -> object:
        task = asyncio.ensure_future(getattr(either.inner, name)(*arguments))
        await asyncio.sleep(0)
        meanwhile()
        return await task

    return either.runner.run(wait())


def test_register(either: Registry, calls: EventLog) -> None:
    """A registration emits an event with its duration and the number of its entries."""
    either.register("a")
    told = calls.one("adsum.register")
    _numbers(told, "duration", "count")
    assert told.measurements["count"] == 1
    _words(told, either, namespace="default", call="register", result="registered")


def test_register_many(either: Registry, calls: EventLog) -> None:
    """`register_many` emits one event with the number of entries."""
    either.register_many([(("elsewhere", "n", "a"), {}), (("elsewhere", "n", "b"), {})])
    told = calls.one("adsum.register", namespace="elsewhere", call="register")
    assert told.measurements["count"] == 2


def test_register_nowait(either: Registry, calls: EventLog) -> None:
    """A registration with `register_nowait` emits the same event as any other."""
    _run(either, "register_nowait", "a")
    assert calls.one("adsum.register", call="register", result="registered").measurements["count"] == 1


def test_get_or_register(either: Registry, calls: EventLog) -> None:
    """If the id was held, `get_or_register` emits the count 0 and a result that says so."""
    either.get_or_register("a")
    either.get_or_register("a")
    created = calls.one("adsum.register", call="get_or_register", result="registered")
    held = calls.one("adsum.register", call="get_or_register", result="held")
    assert (created.measurements["count"], held.measurements["count"]) == (1, 0)


def test_registration_inside_the_process(registry: Registry, calls: EventLog) -> None:
    """The registration of a thread emits one event, and so does a refused one."""
    go_on = threading.Event()
    thread = threading.Thread(target=go_on.wait)
    thread.start()
    try:
        registry.register("a", thread)
        with pytest.raises(adsum.AlreadyRegistered):
            registry.register("a", thread)
    finally:
        go_on.set()
        thread.join()
    assert calls.one("adsum.register").measurements["count"] == 1
    assert calls.one("adsum.rejected").attributes["reason"] == "already_registered"


def test_stand_by_has_no_duration(either: Registry, calls: EventLog) -> None:
    """Standing by emits an event at the grant, without a duration, which would measure the previous holder's life."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as holder:
        either.register("lead", holder)
        _run(either, "stand_by", "lead", meanwhile=holder.kill)
    told = calls.one("adsum.register", call="stand_by")
    _numbers(told, "count")
    _words(told, either, namespace="default", call="stand_by", result="registered")


def test_stand_by_refused(registry: Registry, calls: EventLog) -> None:
    """Standing by for an id that the caller holds is refused, and emits an event."""
    registry.register("lead")
    with pytest.raises(adsum.AlreadyRegistered):
        registry.stand_by("lead")
    assert calls.one("adsum.rejected", call="stand_by").attributes["reason"] == "already_registered"


def test_lookup(either: Registry, calls: EventLog) -> None:
    """Each way of looking up an id emits an event that says whether there was an entry."""
    either.register("a")
    either.lookup("a")
    either["a"]
    either.get("b")
    told = calls.of("adsum.lookup")
    assert [one.attributes["result"] for one in told] == ["found", "found", "absent"]
    _numbers(told[0], "duration")
    _words(told[0], either, namespace="default", call="lookup", result="found")


def test_lookup_in_another_namespace(either: Registry, calls: EventLog) -> None:
    """The namespace in the event is that of the id, not that of the registry."""
    either.lookup(("elsewhere", "node", "a"))
    assert calls.one("adsum.lookup").attributes["namespace"] == "elsewhere"


def test_find(either: Registry, calls: EventLog) -> None:
    """A search emits an event with the number of matches and the searched namespace."""
    either.register_many([("a", {"capabilities": {"x"}}), ("b", {"capabilities": {"x"}}), ("c", {})])
    either.find(capability="x")
    either.find(namespace="elsewhere")
    told, elsewhere = calls.of("adsum.find")
    _numbers(told, "duration", "count")
    _words(told, either, namespace="default", call="find")
    assert told.measurements["count"] == 2
    assert (elsewhere.attributes["namespace"], elsewhere.measurements["count"]) == ("elsewhere", 0)


def test_count(either: Registry, calls: EventLog) -> None:
    """`count` emits one event, as a search with the counted number."""
    either.register("a")
    assert len(either) == 1
    assert calls.one("adsum.find", call="count").measurements["count"] == 1
    assert either.count(where=lambda entry: True) == 1
    assert calls.one("adsum.find", call="find").measurements["count"] == 1
    assert len(calls.of("adsum.find")) == 2


@pytest.mark.parametrize("call", ["update", "update_health", "hand_over"])
def test_update(either: Registry, calls: EventLog, call: str) -> None:
    """Each call that changes an entry emits an update event with the name of the call."""
    registration = either.register("a")
    if call == "update":
        either.update("a", custom={"n": 1})
    elif call == "update_health":
        registration.update_health("degraded")
    else:
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as successor:
            registration.hand_over(successor)
            successor.kill()
    told = calls.one("adsum.update")
    _numbers(told, "duration")
    _words(told, either, namespace="default", call=call)


def test_unregister(either: Registry, calls: EventLog) -> None:
    """`unregister` emits an event with the number of removed entries: 1, or 0 if the id was free."""
    either.register("a")
    either.unregister("a")
    either.unregister("a")
    first, second = calls.of("adsum.unregister")
    _numbers(first, "duration", "count")
    _words(first, either, namespace="default", call="unregister")
    assert (first.measurements["count"], second.measurements["count"]) == (1, 0)


def test_claim_and_release(either: Registry, calls: EventLog) -> None:
    """`claim` and `release` emit an event each, that of a release with the number of slots: 1, or 0 without any."""
    either.register("a")
    with either.claim("a") as claim:
        claim.release()
    claimed, (first, second) = calls.one("adsum.claim"), calls.of("adsum.release")
    _numbers(claimed, "duration")
    _words(claimed, either, namespace="default", call="claim")
    _numbers(first, "duration", "count")
    _words(first, either, namespace="default", call="release")
    assert (first.measurements["count"], second.measurements["count"]) == (1, 0)


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_a_claim_in_vain(either: Registry, calls: EventLog, timeout: float) -> None:
    """A claim that gets no slot in time emits one event, a time-out."""
    either.register("a")
    with either.claim("a"), pytest.raises(adsum.Timeout):
        either.claim("a", timeout=timeout)
    _words(calls.one("adsum.timeout"), either, namespace="default", call="claim", reason="timeout")
    assert len(calls.of("adsum.claim")) == 1


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("claim", "not_registered"),
        ("claim", "invalid_query"),
        ("register", "already_registered"),
        ("register", "invalid_metadata"),
        ("register", "dead_process"),
        ("update", "not_registered"),
        ("update", "invalid_process_id"),
        ("unregister", "stale"),
        ("heartbeat", "not_registered"),
        ("lookup", "invalid_process_id"),
        ("find", "invalid_query"),
        ("hand_over", "dead_process"),
    ],
)
def test_rejected(either: Registry, calls: EventLog, call: str, reason: str) -> None:
    """A refused call emits one event with the call and the reason of the error, wherever it was refused; the caller
    gets the error too."""
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
        registration = either.register("a")
        calls.all.clear()
        refusals: dict[tuple[str, str], Callable[[], object]] = {
            ("claim", "not_registered"): lambda: either.claim("b"),
            ("claim", "invalid_query"): lambda: either.claim(type="wizard"),
            ("register", "already_registered"): lambda: either.register("a"),
            ("register", "invalid_metadata"): lambda: either.register("b", bogus=1),  # type: ignore[call-arg]
            ("register", "dead_process"): lambda: either.register("b", dead),
            ("update", "not_registered"): lambda: either.update("b", custom={}),
            ("update", "invalid_process_id"): lambda: either.update("", custom={}),
            ("unregister", "stale"): lambda: either.unregister("a", if_incarnation=10**6),
            ("heartbeat", "not_registered"): lambda: either.heartbeat("b"),
            ("lookup", "invalid_process_id"): lambda: either.lookup(""),
            ("find", "invalid_query"): lambda: either.find(type="wizard"),
            ("hand_over", "dead_process"): lambda: registration.hand_over(dead),
        }
        with pytest.raises(adsum.AdsumError) as error:
            refusals[call, reason]()
    assert error.value.reason == reason
    told = calls.one("adsum.rejected")
    _numbers(told, "duration")
    _words(told, either, namespace="default", call=call, reason=reason)
    assert calls.events == ["adsum.rejected"]


def test_the_event_comes_before_the_result_or_the_error(either: Registry) -> None:
    """A call that returns or raises has made its event already, also where another thread calls the handler."""
    seen: list[str] = []

    def slow(event: str, _: adsum.telemetry.Measurements, __: adsum.telemetry.Attributes) -> None:
        time.sleep(0.1)
        seen.append(event)

    adsum.telemetry.attach(slow, ["adsum.register", "adsum.rejected"])
    try:
        either.register("a")
        assert seen == ["adsum.register"]
        with pytest.raises(adsum.AlreadyRegistered):
            either.register("a")
        assert seen == ["adsum.register", "adsum.rejected"]
    finally:
        adsum.telemetry.detach(slow)


def test_timeout(opener: Opener, calls: EventLog) -> None:
    """A request whose time runs out emits a timeout event, and no other event."""
    registry = opener(timeout=0.05)
    registry.register("a", timeout=10)
    calls.all.clear()
    with stopped(registry.folder), pytest.raises(adsum.Timeout):
        registry.update("a", custom={})
    told = calls.one("adsum.timeout")
    _numbers(told, "duration")
    assert told.measurements["duration"] >= 0.05
    _words(told, registry, namespace="default", call="update", reason="timeout")
    assert calls.events == ["adsum.timeout"]


def test_wait_for_in_vain(either: Registry, calls: EventLog) -> None:
    """A `wait_for` that ends without a match emits a timeout event with the name of the call."""
    with pytest.raises(adsum.Timeout):
        either.wait_for(capability="x", namespace="elsewhere", timeout=0.01)
    told = calls.one("adsum.timeout")
    assert told.measurements["duration"] == 0.01
    _words(told, either, namespace="elsewhere", call="wait_for", reason="timeout")


def test_wait_until_gone_in_vain(either: Registry, calls: EventLog) -> None:
    """A `wait_until_gone` that ends without an end emits a timeout event with the name of the call."""
    either.register("a")
    with pytest.raises(adsum.Timeout):
        either.wait_until_gone("a", timeout=0.01)
    told = calls.one("adsum.timeout")
    _words(told, either, namespace="default", call="wait_until_gone", reason="timeout")


def test_closed(opener: Opener, calls: EventLog) -> None:
    """A call that a closed registry refuses emits an event."""
    registry = opener()
    registry.close()
    with pytest.raises(adsum.RegistryClosed):
        registry.lookup("a")
    with pytest.raises(adsum.RegistryClosed):
        registry.unregister("a")
    assert [told.attributes["call"] for told in calls.of("adsum.rejected", reason="registry_closed")] == [
        "lookup",
        "unregister",
    ]


def test_a_cancelled_wait_is_told_of_what_happened(registry_folder: Path, calls: EventLog) -> None:
    """A registration whose await is cancelled emits its event, because it was made; undoing it emits none."""

    async def cancel() -> None:
        async with adsum.open_async(path=registry_folder, timeout=10) as registry:
            task = asyncio.ensure_future(registry.register("a"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await eventually_awaited(lambda: calls.of("adsum.register") and registry.lookup("a") is None)

    asyncio.run(cancel())
    assert calls.one("adsum.register").measurements["count"] == 1
    assert calls.of("adsum.unregister") == []


def test_the_thread_that_waits_is_told(registry: Registry, calls: EventLog) -> None:
    """For a blocking call, the handler runs in the thread of the call."""
    registry.register("a")
    registry.lookup("a")
    assert {told.thread for told in calls.all} == {threading.current_thread()}


def test_garbage_is_refused_as_without_telemetry(registry: Registry, calls: EventLog) -> None:
    """Arguments of the wrong type raise the same error as without a handler."""
    garbage: list[Any] = [5, [5], [()], [(("ns",), {})]]
    for items in garbage:
        with pytest.raises((TypeError, ValueError)):
            registry.register_many(items)
    with pytest.raises(adsum.InvalidProcessId):
        registry.lookup((1, 2, 3))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        registry.find(bogus=1)  # type: ignore[call-arg]
    assert calls.one("adsum.rejected", call="lookup").attributes["namespace"] == "default"
