"""Succession among real processes: exactly one successor, first come first served, whichever process dies meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

import adsum
from adsum import AlreadyRegistered, Registry

from ..support import WITHIN, Agent, eventually, kill_registrar, stopped
from .people import gone_from_tables, no_registrar

GRANTED = "waiting.result(9).entry.pid"


@contextmanager
def line(folder: Path, size: int) -> Iterator[list[Agent]]:
    """The holder of the id ``lead`` and, in this order, its standbys."""
    with ExitStack() as stack:
        agents = [stack.enter_context(Agent(folder)) for _ in range(size + 1)]
        agents[0].do("held = registry.register('lead')")
        for agent in agents[1:]:
            agent.do("waiting = registry.stand_by('lead')")
        yield agents


def leads(registry: Registry, agent: Agent) -> bool:
    entry = registry.lookup("lead")
    return entry is not None and entry.pid == agent.pid


def becomes(registry: Registry, agent: Agent) -> None:
    """Wait until `agent` holds the id and has been granted it; no other process may hold it."""
    eventually(lambda: leads(registry, agent))
    assert agent.value(GRANTED) == agent.pid


def test_killed_one_after_the_other(registry: Registry) -> None:
    """Each time the holder is killed the next standby takes over; no other process ever does, and nothing is left."""
    with line(registry.folder, 4) as agents:
        for holder, successor in pairwise(agents):
            assert leads(registry, holder)
            holder.kill()
            becomes(registry, successor)
        agents[-1].kill()
        gone_from_tables(registry)
    assert [departure.entry.pid for departure in registry.departures()] == [agent.pid for agent in reversed(agents)]


def test_the_id_is_never_free(registry: Registry) -> None:
    """The successor's registration has the revision after the holder's removal: the id is free at no revision."""
    with line(registry.folder, 3) as agents, registry.watch("lead") as watch:
        for holder in agents[:-1]:
            holder.kill()
            died, registered = watch.next(WITHIN), watch.next(WITHIN)
            assert (died.kind, registered.kind) == ("died", "registered")
            assert registered.revision == died.revision + 1
            with pytest.raises(AlreadyRegistered):
                registry.register("lead")


def test_the_dead_in_line_are_skipped(registry: Registry) -> None:
    """A standby that was killed is skipped, reaped or not."""
    with line(registry.folder, 4) as (holder, first, second, third, last):
        second.kill_unreaped()
        first.kill()
        third.kill_unreaped()
        holder.kill()
        becomes(registry, last)
        assert registry.stats().owners == 1


def test_those_killed_in_the_same_moment_are_skipped(registry: Registry) -> None:
    """The holder and the first standby die together, and the registrar detects both deaths at once."""
    with line(registry.folder, 2) as (holder, first, last):
        with stopped(registry.folder):
            first.kill_unreaped()
            holder.kill_unreaped()
        becomes(registry, last)


def test_the_dead_are_skipped_by_the_next_registrar(registry: Registry) -> None:
    """If the holder and the first standby die while no registrar serves, the next one grants the second standby."""
    with line(registry.folder, 3) as (holder, first, second, last):
        with no_registrar(registry.folder):
            holder.kill()
            first.kill_unreaped()
            second.kill()
        becomes(registry, last)


def test_standbys_outlive_a_registrar(registry: Registry) -> None:
    """When the registrar is killed the standbys keep their order, and each is granted the id once."""
    with line(registry.folder, 3) as agents:
        for holder, successor in pairwise(agents):
            kill_registrar(registry.folder)
            holder.kill()
            becomes(registry, successor)
            kill_registrar(registry.folder)
            assert leads(registry, successor)
        assert agents[-1].value("waiting.done() and len(registry)") == 1
    assert registry.audit() == []


def test_a_registrar_killed_in_the_moment_of_succession(registry: Registry) -> None:
    """However often the registrar dies around a grant, exactly one standby gets the id: the first."""
    for round in range(6):
        with line(registry.folder, 2) as (holder, first, second):
            holder.signal(signal.SIGKILL)
            if round % 2:
                eventually(lambda first=first: leads(registry, first))  # type: ignore[misc]
            kill_registrar(registry.folder)
            becomes(registry, first)
            assert second.value("waiting.done()") is False
            first.kill()
            becomes(registry, second)
        gone_from_tables(registry)


def test_a_new_standby_is_behind_those_of_the_last_registrar(registry: Registry) -> None:
    """A standby that arrives with the next registrar comes after those that were registered with the previous one."""
    with line(registry.folder, 2) as (holder, first, second), Agent(registry.folder) as newcomer:
        kill_registrar(registry.folder)
        newcomer.do("waiting = registry.stand_by('lead')")
        for one, successor in ((holder, first), (first, second), (second, newcomer)):
            one.kill()
            becomes(registry, successor)


def test_a_standby_cancelled_without_a_registrar_gets_nothing(registry: Registry) -> None:
    """A standby that cancelled, or closed its registry, while no registrar served has lost its position."""
    with line(registry.folder, 2) as (holder, closing, last):
        cancelled = registry.stand_by("lead")
        last.do("waiting.cancel(); waiting = registry.stand_by('lead')")
        with no_registrar(registry.folder):
            assert cancelled.cancel()
            closing.do("registry.close()")
            holder.kill()
        registry.register("sign")
        becomes(registry, last)
        assert {entry.pid for entry in registry.find()} == {os.getpid(), last.pid}


def test_the_last_standby_cancelled_without_a_registrar_leaves_the_id_free(registry: Registry) -> None:
    """If no other standby is left, the id becomes free."""
    with adsum.open(path=registry.folder, timeout=10) as cancelling:
        for end in ("cancel", "close"):
            with Agent(registry.folder) as holder:
                holder.do("registry.register('lead')")
                waiting = cancelling.stand_by("lead")
                with no_registrar(registry.folder):
                    if end == "cancel":
                        assert waiting.cancel()
                    else:
                        cancelling.close()
                    holder.kill()
                registry.register(f"sign-{end}")
                eventually(lambda: registry.lookup("lead") is None)
        assert {entry.process_id.local_id for entry in registry.find()} == {"sign-cancel", "sign-close"}


def test_a_stopped_successor_is_alive(registry: Registry) -> None:
    """A stopped standby is granted the id, as a stopped holder would keep it."""
    with line(registry.folder, 2) as (holder, first, _second):
        first.stop()
        holder.kill()
        eventually(lambda: leads(registry, first))
        first.resume()
        becomes(registry, first)


def test_a_crowd_stands_by_for_one_id(registry: Registry) -> None:
    """Of twenty standbys in one process and three in others, each holds the id exactly once; then it is free."""
    with line(registry.folder, 3) as (holder, *others):
        futures = [registry.stand_by("lead") for _ in range(20)]
        holder.kill()
        for agent in others:
            becomes(registry, agent)
            agent.do("waiting.result().unregister()")
        incarnations = []
        for future in futures:
            registration = future.result(WITHIN)
            incarnations.append(registration.entry.incarnation)
            registration.unregister()
        assert incarnations == sorted(set(incarnations))
        assert registry.lookup("lead") is None
