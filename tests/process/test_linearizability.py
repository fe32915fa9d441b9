"""Several processes call concurrently on few ids; some order, in which each call takes effect between its start and its
end, explains every answer."""

from __future__ import annotations

import contextlib
import itertools
import pickle
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import adsum
from adsum import AlreadyRegistered, DeadProcess, NotRegistered, Registry, Stale

from ..support import Child, kill_registrar
from ..support.linearizability import ENTRIES, NEVER, Operation, check, explain
from .people import kill_unreaped, sleepers

PROCESSES = 4
CALLS = 400
KEYS = ["k0", "k1", "k2"]


def register(registry: Registry, key: str, process: int | None) -> tuple[object, ...]:
    try:
        return "registered", registry.register(key, process).entry.incarnation
    except AlreadyRegistered as refused:
        return "already_registered", refused.entry.incarnation
    except DeadProcess:
        return "dead_process", None


def get_or_register(registry: Registry, key: str, _: int | None) -> tuple[object, ...]:
    entry, created = registry.get_or_register(key)
    return entry.incarnation, created


def update(registry: Registry, key: str, _: int | None) -> tuple[object, ...]:
    try:
        entry = registry.update(key, custom={"at": time.monotonic_ns()})
    except NotRegistered:
        return "not_registered", None, None
    return "updated", entry.incarnation, entry.revision


def unregister(registry: Registry, key: str, incarnation: int | None) -> tuple[object, ...]:
    try:
        return (registry.unregister(key, if_incarnation=incarnation),)
    except Stale:
        return ("stale",)


def lookup(registry: Registry, key: str, _: int | None) -> tuple[object, ...]:
    entry = registry.lookup(key)
    return (None, None) if entry is None else (entry.incarnation, entry.revision)


CALLED: list[Callable[[Registry, str, int | None], tuple[object, ...]]] = [
    register,
    get_or_register,
    update,
    unregister,
    lookup,
]


def _act(folder: str, seed: str, *pids: str) -> None:
    """Make random calls, and print their history. The process registers itself or, more often, one of `pids`."""
    rng = random.Random(int(seed))
    registry = adsum.open(path=folder, timeout=10)
    registry.lookup("k0")
    print("ready")
    input()
    history, seen = [], dict.fromkeys(KEYS, 0)
    for _ in range(CALLS):
        key = rng.choice(KEYS)
        (call,) = rng.choices(CALLED, [2, 2, 2, 3, 4])
        argument = None
        if call is unregister and rng.random() < 0.5:
            argument = seen[key]
        elif call is register and pids and rng.random() < 0.8:
            argument = int(rng.choice(pids))
        called = time.monotonic_ns()
        answer = call(registry, key, argument)
        history.append(Operation(key, call.__name__, argument, answer, called, time.monotonic_ns()))
        seen[key] = next((part for part in answer if type(part) is int), seen[key])
    print(pickle.dumps(history).hex())
    input()


def kill(process: subprocess.Popen[bytes]) -> list[Operation]:
    """Kill a process, and record its death as an operation on every key; the incarnations it held are added later."""
    called = time.monotonic_ns()
    kill_unreaped(process)
    answered = time.monotonic_ns()
    return [Operation(key, "died", process.pid, (), called, answered) for key in KEYS]


def with_what_they_held(deaths: list[Operation], calls: list[Operation]) -> Iterator[Operation]:
    for death in deaths:
        held = (call for call in calls if call.kind == "register" and call.argument == death.argument)
        yield death._replace(answer=tuple(call.answer[1] for call in held if call.answer[0] == "registered"))


@pytest.mark.parametrize(
    ("registrars", "victims"), [(0, 0), (4, 0), (0, 12)], ids=["undisturbed", "registrar killed", "owners killed"]
)
def test_every_answer_can_be_explained(registry_folder: Path, registrars: int, victims: int) -> None:
    """Some sequential order explains the answers to all concurrent calls, also when the registrar or the owners of
    entries are killed repeatedly."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)
    deaths: list[Operation] = []
    with contextlib.ExitStack() as stack:
        processes = stack.enter_context(sleepers(victims))
        pids = [process.pid for process in processes]
        actors = [stack.enter_context(Child(_act, registry_folder, seed + n, *pids)) for n in range(PROCESSES)]
        for actor in actors:
            actor.expect("ready")
        for actor in actors:
            actor.say()
        for _ in range(registrars):
            time.sleep(rng.uniform(0.02, 0.15))
            kill_registrar(registry_folder)
        for process in processes:
            time.sleep(rng.uniform(0.01, 0.08))
            deaths += kill(process)
        calls = list(itertools.chain.from_iterable(pickle.loads(bytes.fromhex(actor.line(60))) for actor in actors))
    assert len(calls) == PROCESSES * CALLS
    check([*calls, *with_what_they_held(deaths, calls)], ENTRIES)


def operation(
    kind: str, answer: tuple[object, ...], called: int, answered: int, argument: int | None = None
) -> Operation:
    return Operation("k", kind, argument, answer, called, answered)


SOUND = {
    "one after the other": [
        operation("register", ("registered", 1), 0, 1),
        operation("lookup", (1, 1), 2, 3),
        operation("unregister", (True,), 4, 5),
        operation("lookup", (None, None), 6, 7),
    ],
    "a read beside a write sees either": [
        operation("register", ("registered", 1), 0, 1),
        operation("update", ("updated", 1, 2), 2, 9),
        operation("lookup", (1, 1), 3, 4),
        operation("lookup", (1, 2), 5, 6),
    ],
    "two race, one wins": [
        operation("get_or_register", (1, True), 0, 9),
        operation("get_or_register", (1, False), 0, 9),
    ],
    "the unanswered may have happened": [
        operation("register", ("registered", 1), 0, NEVER),
        operation("lookup", (1, 1), 5, 6),
    ],
    "the unanswered may not have happened": [
        operation("register", ("registered", 1), 0, NEVER),
        operation("register", ("registered", 2), 5, 6),
    ],
    "a stale unregistration changes nothing": [
        operation("register", ("registered", 5), 0, 1),
        operation("unregister", ("stale",), 2, 3, argument=4),
        operation("lookup", (5, 5), 4, 5),
    ],
}

UNSOUND = {
    "a read that is late": [
        operation("register", ("registered", 1), 0, 1),
        operation("lookup", (None, None), 2, 3),
    ],
    "a read that goes back": [
        operation("register", ("registered", 1), 0, 1),
        operation("update", ("updated", 1, 2), 2, 9),
        operation("lookup", (1, 2), 3, 4),
        operation("lookup", (1, 1), 5, 6),
    ],
    "two owners": [
        operation("get_or_register", (1, True), 0, 9),
        operation("get_or_register", (2, True), 0, 9),
    ],
    "removed twice": [
        operation("register", ("registered", 1), 0, 1),
        operation("unregister", (True,), 2, 9),
        operation("unregister", (True,), 2, 9),
    ],
    "a removal of another's": [
        operation("register", ("registered", 5), 0, 1),
        operation("unregister", (True,), 2, 3, argument=4),
    ],
    "a dead holder handed out": [
        operation("register", ("registered", 1), 0, 1, argument=99),
        operation("died", (1,), 2, 3, argument=99),
        operation("lookup", (1, 1), 4, 5),
    ],
    "an update of nothing": [
        operation("update", ("updated", 1, 2), 0, 1),
    ],
}


@pytest.mark.parametrize("history", SOUND.values(), ids=SOUND)
def test_the_checker_accepts_what_is_sound(history: list[Operation]) -> None:
    """The checker finds an order for histories that have one, and that order respects the times."""
    order = explain(history, ENTRIES)
    assert order is not None
    assert len(order) == len(set(order))
    assert {one for one in history if one.answered < NEVER} <= set(order) <= set(history)
    for before, later in itertools.combinations(order, 2):
        assert later.answered >= before.called


@pytest.mark.parametrize("history", UNSOUND.values(), ids=UNSOUND)
def test_the_checker_refuses_what_is_not(history: list[Operation]) -> None:
    """The checker finds no order for histories that violate a guarantee, and names the key."""
    with pytest.raises(AssertionError, match="no order explains the answers for k"):
        check(history, ENTRIES)


def test_the_checker_shows_the_answer_that_cannot_be() -> None:
    """What is shown ends with the first answer that no order explains, although others were in flight before it that
    only later ones explain."""
    history = [
        operation("register", ("registered", 1), 0, 1),
        operation("get_or_register", (2, True), 0, 20),
        *(operation("lookup", (1, 1), at, at + 1) for at in (2, 4, 6)),
        operation("unregister", (True,), 10, 11),
        operation("lookup", (1, 1), 12, 13),
        operation("lookup", (2, 2), 30, 31),
    ]
    with pytest.raises(AssertionError, match="cannot be:") as raised:
        check(history, ENTRIES)
    assert str(raised.value).splitlines()[-1] == str(history[6])
