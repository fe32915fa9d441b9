"""Watches in real processes: slow, stopped, killed and forked processes, and registrars that die meanwhile."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import adsum
from adsum import Entry, Event, Limits, Registry, Watch

from ..support import WITHIN, Agent, Child, eventually, kill_registrar, registrar_pid
from .people import no_registrar

# A process that keeps a local copy of the entries, as a careful user of a watch does.
_FOLLOW = """
import threading
held, kinds, revisions = {}, [], []
def apply(event):
    kinds.append(event.kind.value)
    revisions.append(int(event.revision))
    if event.kind == "lagged":
        held.clear()
        held.update({entry.process_id: entry for entry in watch.snapshot})
    elif event.kind in ("died", "unregistered"):
        del held[event.entry.process_id]
    else:
        held[event.entry.process_id] = event.entry
def follow():
    for event in watch:
        apply(event)
watch = registry.watch()
held.update({entry.process_id: entry for entry in watch.snapshot})
threading.Thread(target=follow, daemon=True).start()
"""


@contextmanager
def follower(folder: Path) -> Iterator[Agent]:
    with Agent(folder) as agent:
        agent.do(_FOLLOW)
        yield agent


def state(registry: Registry) -> dict[object, Entry]:
    return {entry.process_id: entry for entry in registry.find()}


def change_much(registry: Registry, changes: int = 9_000) -> None:
    """Make this many changes, by default more than the history holds."""
    done = 0
    while done < changes:
        many = registry.register_many([(f"n{done + number:06}", {}) for number in range(500)])
        for one in many[:10]:
            one.update(custom={"n": done})
            one.unregister()
        done += 520


def follows(agent: Agent, registry: Registry) -> None:
    """Wait until the local copy of the process equals the current entries."""
    eventually(lambda: agent.value("int(watch.revision)") == registry.stats().revision, 3 * WITHIN)
    eventually(lambda: agent.value("len(held)") == len(registry))
    assert agent.value("held") == state(registry)


def gaps(revisions: Iterable[int]) -> list[tuple[int, int]]:
    return [(one, next) for one, next in pairwise(revisions) if next != one + 1]


def test_many_processes_see_the_same(registry: Registry) -> None:
    """Each of several watching processes gets every change exactly once, in order, while others write."""
    with follower(registry.folder) as one, follower(registry.folder) as other, Agent(registry.folder) as writer:
        with ThreadPoolExecutor() as threads:
            theirs = threads.submit(
                writer.do,
                "for number in range(200):\n"
                "    with registry.register(f'theirs-{number}') as held: held.update(endpoint='x')",
                3 * WITHIN,
            )
            for number in range(200):
                registry.register(f"ours-{number}")
                registry.update_health(f"ours-{number // 2}", random.choice(("healthy", "degraded")))
            theirs.result()
        for agent in (one, other):
            follows(agent, registry)
            assert agent.value("revisions") == list(range(1, 1001))


def test_list_then_watch_has_no_gap(registry: Registry) -> None:
    """If a watch is opened while others write, its snapshot and its events give every later state."""
    with Agent(registry.folder) as writer:
        writer.do(
            "import threading\n"
            "go_on = True\n"
            "def write():\n"
            "    number = 0\n"
            "    while go_on:\n"
            "        number += 1\n"
            "        registry.get_or_register(f'a{number % 7}', custom={'n': number})\n"
            "        registry.update(f'a{number % 7}', custom={'n': -number})\n"
            "        registry.unregister(f'a{number % 3}')\n"
            "thread = threading.Thread(target=write)\n"
            "thread.start()"
        )
        opened: list[tuple[Watch, int, dict[object, Entry]]] = []
        while len(opened) < 40:
            eventually(lambda: registry.stats().revision > 10 * len(opened))
            watch = registry.watch()
            opened.append((watch, watch.revision, {entry.process_id: entry for entry in watch.snapshot}))
        writer.do("go_on = False; thread.join()")
        final, newest = state(registry), registry.stats().revision
        for watch, began, held in opened:
            revisions = [began]
            while watch.revision < newest:
                event = watch.next(WITHIN)
                revisions.append(event.revision)
                _apply(held, event)
            assert not gaps(revisions)
            assert (held, revisions[-1]) == (final, newest)
            watch.close()


def _apply(held: dict[object, Entry], event: Event) -> None:
    entry = event.entry
    assert entry is not None
    if event.kind == "registered":
        assert entry.process_id not in held
    else:
        assert held[entry.process_id] == (event.previous or entry)
    if event.kind in ("died", "unregistered"):
        del held[entry.process_id]
    else:
        held[entry.process_id] = entry


def test_a_slow_watcher_lags_alone(registry: Registry) -> None:
    """During ten thousand changes, a watch that is not read gets `lagged` once; one that is read misses no change."""
    with registry.watch() as slow, follower(registry.folder) as quick:
        registry.register("first")
        assert slow.next(WITHIN).revision == 1
        change_much(registry, 10_000)
        follows(quick, registry)
        assert quick.value("kinds.count('lagged')") == 0
        assert not gaps(quick.value("revisions"))
        assert slow.next(WITHIN).kind == "lagged"
        assert {entry.process_id: entry for entry in slow.snapshot} == state(registry)
        last = registry.register("last").entry
        assert slow.next(WITHIN).entry == last


def test_a_stopped_watcher_finds_its_way(registry: Registry) -> None:
    """A process that was stopped for longer than the history lasts gets `lagged` once, then has the current entries."""
    with follower(registry.folder) as agent:
        registry.register("before")
        follows(agent, registry)
        agent.stop()
        registry.unregister("before")
        change_much(registry)
        agent.resume()
        follows(agent, registry)
        assert agent.value("kinds").count("lagged") == 1
        registry.register("after")
        follows(agent, registry)
        assert agent.value("kinds").count("lagged") == 1


def test_a_watcher_that_was_stopped_for_a_moment_misses_nothing(registry: Registry) -> None:
    """A stopped process that resumes before the history has run over gets every change, in order."""
    registry.register("first")
    with follower(registry.folder) as agent:
        for round in range(5):
            agent.stop()
            for number in range(50):
                registry.register(f"a{round}-{number}")
            agent.resume()
        follows(agent, registry)
        assert agent.value("revisions") == list(range(2, 252))


def test_a_killed_watcher_leaves_nothing(registry_folder: Path) -> None:
    """A registrar exits on schedule after a watching process was killed: a dead process holds no connection."""
    with adsum.open(path=registry_folder, timeout=10, limits=Limits(linger=0.1)) as registry:
        registry.register("a")
        with follower(registry_folder) as agent:
            follows(agent, registry)
            registry.unregister("a")
            follows(agent, registry)
            registry.close()
            assert registrar_pid(registry_folder) is not None
            agent.kill()
            eventually(lambda: registrar_pid(registry_folder) is None)


def test_registrars_that_are_killed_are_not_noticed(registry: Registry) -> None:
    """A watch continues through the deaths of many registrars, gets every change once, and no `lagged`."""
    with follower(registry.folder) as agent, registry.watch() as watch:
        for number in range(10):
            registry.register(f"a{number}")
            kill_registrar(registry.folder)
            if number % 2:
                registry.update(f"a{number}", endpoint="x")
        follows(agent, registry)
        assert agent.value("revisions") == list(range(1, 16))
        assert [watch.next(WITHIN).revision for _ in range(15)] == list(range(1, 16))


def collect(watch: Watch, seen: list[int]) -> None:
    for event in watch:
        seen.append(int(event.revision))  # noqa: PERF401 - the test reads the list meanwhile


def test_many_threads_outlive_a_registrar(registry: Registry) -> None:
    """Watches of one process that all wait when their registrar dies all get the changes of the next registrar."""
    watches = [registry.watch() for _ in range(8)]
    got: list[list[int]] = [[] for _ in watches]
    with ThreadPoolExecutor(len(watches)) as threads:
        done = [threads.submit(collect, *pair) for pair in zip(watches, got, strict=True)]
        for number in range(10):
            registry.register(f"a{number}")
            eventually(lambda: all(watch._waiter.hears for watch in watches) or any(one.done() for one in done))
            kill_registrar(registry.folder)
        eventually(lambda: all(len(seen) == 10 for seen in got))
        for watch in watches:
            watch.close()
        for one in done:
            one.result(WITHIN)
    assert got == [list(range(1, 11))] * len(watches)


def test_who_dies_while_no_registrar_serves_is_told(registry: Registry) -> None:
    """Deaths without a registrar are `died` events once the next one serves, which the watch itself starts."""
    with registry.watch() as watch, Agent(registry.folder) as agent:
        agent.do("registry.register('a')")
        assert watch.next(WITHIN).kind == "registered"
        with no_registrar(registry.folder):
            agent.kill()
        assert watch.next(WITHIN).kind == "died"


def test_a_crowd_of_watchers(registry: Registry) -> None:
    """A hundred watches in twenty processes all get every change."""
    code = (
        "import adsum, sys\n"
        "registry = adsum.open(path=sys.argv[1], timeout=10)\n"
        "watches = [registry.watch() for _ in range(5)]\n"
        "print('ready')\n"
        "for watch in watches:\n"
        "    print(*(int(watch.next(30).revision) for _ in range(20)))\n"
        "input()"
    )
    children: list[Child] = []
    try:
        children += [Child(code, registry.folder) for _ in range(20)]
        for child in children:
            child.expect("ready", 3 * WITHIN)
        for number in range(20):
            registry.register(f"a{number}")
        expected = " ".join(str(number) for number in range(1, 21))
        for child in children:
            for _ in range(5):
                child.expect(expected, 3 * WITHIN)
    finally:
        for child in children:
            child.close()
