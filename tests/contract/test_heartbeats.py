"""Heartbeats: a member that is dead, stuck or unwell is shown as such; a late heartbeat never removes an entry."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import InvalidMetadata, Limits, NotRegistered, PermissionDenied, Registry, Stale, admin
from adsum._store import page as pages
from tests.process.people import no_registrar
from tests.support import WITHIN, Agent, Child, Opener, eventually, kill_registrar

# `SOON` is exceeded at once, for most tests; `NEVER` is not exceeded in any test.
SOON, NEVER = 0.02, 1000.0


def health(registry: Registry, id: str = "a") -> tuple[str, str]:
    """The health status and its source."""
    entry = registry[id]
    return entry.metadata.health_status.value, entry.health_source.value


def becomes(registry: Registry, status: str, source: str, id: str = "a") -> None:
    def shown() -> bool:
        entry = registry.lookup(id)
        return entry is not None and (entry.metadata.health_status, entry.health_source) == (status, source)

    eventually(shown)


def test_a_late_sign_shows(either: Registry) -> None:
    """An entry with a late heartbeat is `degraded`, later `unhealthy`, both set by the registrar, and never removed."""
    with either.watch("a") as watch:
        either.register("a", heartbeat=SOON)
        events = [watch.next(WITHIN) for _ in range(3)]
    shown = [(e.kind, e.entry.metadata.health_status, e.entry.health_source) for e in events if e.entry]
    assert shown == [
        ("registered", "healthy", "process"),
        ("updated", "degraded", "registrar"),
        ("updated", "unhealthy", "registrar"),
    ]
    assert [event.previous for event in events[1:]] == [events[0].entry, events[1].entry]
    assert either["a"] == events[2].entry


def test_a_sign_makes_it_well_again(either: Registry) -> None:
    """A heartbeat resets the status that the registrar set; the registrar sets it again when the next one is late."""
    registration = either.register("a", heartbeat=SOON)
    for _ in range(3):
        becomes(either, "unhealthy", "registrar")
        before = either["a"]
        entry = registration.heartbeat()
        assert entry.metadata.health_status == "healthy"
        assert entry.health_source == "process"
        assert entry.metadata.last_health_check > before.metadata.last_health_check
        assert entry.revision == before.revision + 1
        becomes(either, "degraded", "registrar")


def test_what_the_process_said_of_itself_holds_again(either: Registry) -> None:
    """A process that reported itself degraded is degraded again after its heartbeat, with itself as the source."""
    registration = either.register("a", heartbeat=SOON)
    registration.update_health("degraded")
    becomes(either, "unhealthy", "registrar")
    entry = registration.heartbeat()
    assert (entry.metadata.health_status, entry.health_source) == ("degraded", "process")
    becomes(either, "unhealthy", "registrar")
    entry = registration.update_health("healthy")
    assert (entry.metadata.health_status, entry.health_source) == ("healthy", "process")


def test_a_missed_heartbeat_makes_no_status_better(either: Registry) -> None:
    """A member that reported itself unhealthy does not become degraded when its heartbeat is late."""
    with either.watch("a") as watch:
        either.register("a", heartbeat=SOON, health_status="unhealthy")
        events = [watch.next(WITHIN) for _ in range(3)]
    assert {event.entry.metadata.health_status for event in events if event.entry} == {"unhealthy"}


def test_the_verdict_of_another_stays(either: Registry) -> None:
    """A status that another process sets is marked as such, and no heartbeat resets it."""
    registration = either.register("a", heartbeat=NEVER)
    with Agent(either.folder) as operator:
        operator.do("registry.update_health('a', 'unhealthy')")
        assert health(either) == ("unhealthy", "other")
        registration.heartbeat()
        assert health(either) == ("unhealthy", "other")
        registration.update_health("healthy")
        assert health(either) == ("healthy", "process")


def test_a_parents_word_about_its_child_is_that_of_another(either: Registry) -> None:
    """A health status that a process gives when it registers another one has the source ``other``; one that is not
    given has not."""
    with subprocess.Popen(["sleep", "60"]) as child:
        said, unsaid = either.register_many([("a", {"health_status": "degraded"}), ("b", {})], child)
        child.kill()
    assert (said.entry.health_source, unsaid.entry.health_source) == ("other", "process")
    assert either.register("c", health_status="degraded").entry.health_source == "process"


def test_what_no_process_has_said_has_no_source(either: Registry) -> None:
    """`health_said_by` is None, and so is ``health_source`` in JSON, until a process sets or confirms the status."""
    with subprocess.Popen(["sleep", "60"]) as child:
        for registration in (either.register("child", child), either.register("own", heartbeat=60.0)):
            entry = registration.entry
            assert (entry.health_said_by, entry.to_dict()["health_source"], entry.health_source) == (
                None,
                None,
                "process",
            )
        assert either.update_health("child", "healthy").health_said_by == "other"
        child.kill()
    assert registration.heartbeat().health_said_by == "process"
    assert either.register("unwell", health_status="degraded").entry.to_dict()["health_source"] == "process"


def test_after_a_hand_over_the_status_is_the_word_of_another(either: Registry) -> None:
    """What a process has said of its health is not the word of the process to which it hands over. Where it has said
    nothing, its successor has not either."""
    with subprocess.Popen(["sleep", "60"]) as child:
        said = either.register("said", health_status="degraded").hand_over(child)
        confirmed = either.register("confirmed", heartbeat=60.0)
        confirmed.update_health("healthy")
        unsaid = either.register("unsaid").hand_over(child)
        assert [one.health_said_by for one in (said, confirmed.hand_over(child), unsaid)] == ["other", "other", None]
        child.kill()
    own = either.register("own", health_status="degraded")
    assert own.hand_over(os.getpid()).health_said_by == "process"


def test_the_verdict_of_another_outlives_being_late(either: Registry) -> None:
    """A heartbeat after a late one restores the status that another process had set."""
    registration = either.register("a", heartbeat=SOON)
    with Agent(either.folder) as operator:
        operator.do("registry.update_health('a', 'unhealthy')")
    becomes(either, "unhealthy", "registrar")
    assert registration.heartbeat().health_source == "other"


def test_a_steady_sign_is_no_change(either: Registry) -> None:
    """A heartbeat in time makes no revision and no event; it only updates `last_health_check`, for every reader."""
    registration = either.register("a", heartbeat=NEVER)
    with Agent(either.folder) as agent, either.watch() as watch:
        before = entry = either["a"]
        for _ in range(5):
            entry = registration.heartbeat()
            assert entry == either["a"] == agent.value("registry['a']")
        assert entry.metadata.last_health_check > before.metadata.last_health_check
        assert (entry.revision, entry.last_updated) == (before.revision, before.last_updated)
        assert either.stats().revision == 1
        either.register("b")
        assert watch.next(WITHIN).revision == 2
    assert either.audit() == []


def test_the_promise_is_in_the_entry(either: Registry) -> None:
    """`heartbeat` is metadata: it can be read, changed, and ended with None, even while the member is late."""
    registration = either.register("a", heartbeat=5)
    assert either["a"].metadata.heartbeat == 5.0
    registration.update(heartbeat=SOON)
    becomes(either, "degraded", "registrar")
    registration.update(heartbeat=None)
    status = health(either)
    # If a were still due a heartbeat, it would be unhealthy by the time that b, registered later, is.
    either.register("b", heartbeat=5 * SOON)
    becomes(either, "unhealthy", "registrar", "b")
    assert health(either) == status
    assert registration.heartbeat().metadata.health_status == "healthy"


def test_a_longer_promise_gives_time(either: Registry) -> None:
    """When a late member promises a longer interval, its status gets no worse."""
    registration = either.register("a", heartbeat=SOON)
    becomes(either, "degraded", "registrar")
    registration.update(heartbeat=NEVER)
    status = health(either)
    either.register("b", heartbeat=5 * SOON)
    becomes(either, "unhealthy", "registrar", "b")
    assert health(either) == status


def test_a_sign_without_a_promise_is_fine(either: Registry) -> None:
    """A heartbeat sets `last_health_check`; a member that promised no interval is never late."""
    registration = either.register("a")
    before = either["a"].metadata.last_health_check
    assert registration.heartbeat().metadata.last_health_check > before
    assert either.heartbeat("a").revision == 1
    either.register("b", heartbeat=SOON)
    becomes(either, "unhealthy", "registrar", "b")
    assert health(either) == ("healthy", "process")


def test_only_the_owner_gives_the_sign(either: Registry) -> None:
    """A heartbeat from a process that is not the owner raises `PermissionDenied` and has no effect."""
    before = either.register("a", heartbeat=NEVER).entry
    with Agent(either.folder) as agent:
        with pytest.raises(PermissionDenied, match="only that process"):
            agent.do("registry.heartbeat('a')")
        agent.do("registry.register('b', heartbeat=1000)")
        with pytest.raises(PermissionDenied):
            either.heartbeat("b")
    assert either["a"] == before


def test_a_sign_for_a_successor_is_stale(either: Registry) -> None:
    """A heartbeat through a registration is `Stale` if the id has a new holder, and `NotRegistered` if it has none."""
    old = either.register("a", heartbeat=NEVER)
    old.unregister()
    with pytest.raises(NotRegistered):
        old.heartbeat()
    either.register("a", heartbeat=NEVER)
    with pytest.raises(Stale):
        old.heartbeat()
    with pytest.raises(NotRegistered):
        either.heartbeat("nobody")


@pytest.mark.parametrize("seconds", [0, -1, 0.001, float("nan"), float("inf"), "x", True, 1e9, [1]])
def test_an_impossible_promise_is_refused(either: Registry, seconds: Any) -> None:
    """A heartbeat interval that is no valid number of seconds is refused with the field's path; no entry is made."""
    with pytest.raises(InvalidMetadata, match=r"metadata\.heartbeat"):
        either.register("a", heartbeat=seconds)
    either.register("b")
    with pytest.raises(InvalidMetadata, match=r"metadata\.heartbeat"):
        either.update("b", heartbeat=seconds)
    assert either.lookup("a") is None
    assert either["b"].metadata.heartbeat is None


def test_find_follows(either: Registry) -> None:
    """`find` and `choose` follow the status: a late member is found as degraded, then unhealthy, and is not chosen."""
    registration = either.register("a", heartbeat=SOON)
    eventually(lambda: either.find_by_health("degraded") or either.find_by_health("unhealthy"))
    eventually(lambda: either.find_by_health("unhealthy"))
    assert either.find_by_health("healthy") == either.find_by_health("degraded") == []
    assert either.choose() is None
    registration.update(heartbeat=NEVER)
    registration.heartbeat()
    assert either.find_by_health("healthy") == [either["a"]] == [either.choose()]
    assert either.audit() == []


def test_the_multiples_are_limits(opener: Opener) -> None:
    """`Limits.degraded_after` and `unhealthy_after` set the thresholds, in multiples of the promised interval."""
    registry = opener(limits=Limits(degraded_after=1, unhealthy_after=100_000))
    registry.register("a", heartbeat=SOON)
    registry.register("b", heartbeat=5 * SOON)
    becomes(registry, "degraded", "registrar", "b")
    assert health(registry) == ("degraded", "registrar")


def test_what_was_late_stays_late_with_the_next_registrar(either: Registry) -> None:
    """A new registrar keeps the status of a late member until a heartbeat arrives or the lateness grows."""
    registration = either.register("a", heartbeat=SOON)
    becomes(either, "unhealthy", "registrar")
    kill_registrar(either.folder)
    either.register("b")
    assert health(either) == ("unhealthy", "registrar")
    assert registration.heartbeat().metadata.health_status == "healthy"
    becomes(either, "degraded", "registrar")


def test_no_member_is_late_because_of_a_registrar(either: Registry) -> None:
    """A new registrar restarts every member's interval: it cannot know of heartbeats that failed while none served."""
    either.register("a", heartbeat=0.2)
    with no_registrar(either.folder):
        over = time.monotonic() + 0.4
        eventually(lambda: time.monotonic() > over)
        began = time.monotonic()
    either.register("b")
    becomes(either, "degraded", "registrar")
    assert time.monotonic() - began > 0.3


def test_readers_judge_while_no_registrar_is_alive(either: Registry) -> None:
    """A member that misses its heartbeats while no registrar runs is late in every read; nothing is written."""
    either.register("a", heartbeat=0.3)
    either.register("kept", heartbeat=NEVER)
    either.register("b")
    with no_registrar(either.folder):
        becomes(either, "unhealthy", "registrar")
        assert {entry.process_id.local_id for entry in either.find(health_status="unhealthy")} == {"a"}
        assert {entry.process_id.local_id for entry in either.find(health_status="healthy")} == {"b", "kept"}
        assert (either.count(health_status="unhealthy"), either.count(health_status="healthy")) == (1, 2)
        assert len(either) == 3
        assert health(either, "b") == ("healthy", "process")
        assert either["a"].revision == either["a"].incarnation


def test_readers_judge_after_a_registrar_that_wrote_nothing(either: Registry) -> None:
    """The number of promises, by which readers judge, is right from a registrar's start. The one before it may have
    been killed before it wrote the number."""
    either.register("a", heartbeat=1.0)
    kill_registrar(either.folder)
    page = pages.attach(either.folder, writable=True)
    assert page is not None
    page.promises = 0
    admin.start_registrar(either.folder, adsum.Limits())
    with no_registrar(either.folder):
        becomes(either, "degraded", "registrar")


def test_a_hand_over_begins_anew(either: Registry) -> None:
    """A hand-over restarts the interval: the new holder is not late because the previous holder was."""
    registration = either.register("a", heartbeat=0.2)
    becomes(either, "degraded", "registrar")
    with Child("input()") as child:
        assert registration.hand_over(child.pid).metadata.health_status == "healthy"
        becomes(either, "degraded", "registrar")


_SIGNS = """
import threading
def signs():
    while True:
        held.heartbeat()
        threading.Event().wait(0.02)
held = registry.register('a', heartbeat=0.2)
threading.Thread(target=signs, daemon=True).start()
"""


def test_a_stopped_process_is_degraded(either: Registry) -> None:
    """A stopped process is alive, so its entry stays; it is unhealthy while its heartbeats are missing."""
    with Agent(either.folder) as agent:
        agent.do(_SIGNS)
        becomes(either, "healthy", "process")
        agent.stop()
        becomes(either, "unhealthy", "registrar")
        assert either["a"].pid == agent.pid
        agent.resume()
        becomes(either, "healthy", "process")


async def test_a_sign_may_come_with_the_registration(registry_folder: Path) -> None:
    """Heartbeats, registrations and updates of one batch all take effect, as if each had come alone."""
    async with adsum.open_async(path=registry_folder, timeout=10) as registry:
        for number in range(10):
            a, b = f"a{number}", f"b{number}"
            asked = [registry.register(a), registry.register(b, heartbeat=NEVER), registry.heartbeat(b)]
            await asyncio.gather(*asked, registry.update(b, endpoint="x"), registry.heartbeat(b))
            assert registry[b].metadata.endpoint == "x"
            gone = [registry.heartbeat(b), registry.unregister(b), registry.unregister(a)]
            await asyncio.gather(*gone)
            assert registry.audit() == []
        assert len(registry) == 0
