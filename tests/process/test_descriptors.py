"""The guarantees hold without free file descriptors: the registrar then scans its owners, and a reader opens and closes
a descriptor for each check."""

from __future__ import annotations

import errno
import os
import random
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

import adsum
from adsum import AdsumError, Registry, SystemBusy

from ..support import Child, eventually, stopped
from .people import crowd, gone_from_tables, kill_unreaped, open_descriptors, sleepers

REGISTRAR_LIMIT = 96
READER_LIMIT = 40


def _limit(number: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))


def _start_a_registrar(folder: str) -> None:
    """Start a registrar from a process whose limits the registrar inherits."""
    registry = adsum.open(path=folder, timeout=10)
    registry.register("starter")
    registry.unregister("starter")
    print("serves")


def start_limited(folder: Path) -> None:
    with Child(_start_a_registrar, folder, preexec_fn=_limit(REGISTRAR_LIMIT)) as starter:
        starter.expect("serves")
        assert starter.wait() == 0


def test_a_registrar_without_descriptors_scans(registry: Registry, registry_folder: Path) -> None:
    """A registrar with more owners than it can watch finds every death soon; `stats` has the number of owners that it
    scans."""
    start_limited(registry_folder)
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    with sleepers(120) as processes:
        for number, process in enumerate(processes):
            registry.register(f"s{number}", process)
        eventually(lambda: registry.stats().unwatched_by_kernel >= 120 - REGISTRAR_LIMIT)
        left = list(enumerate(processes))
        random.Random(seed).shuffle(left)
        while left:
            number, process = left.pop()
            kill_unreaped(process)
            assert registry.lookup(f"s{number}") is None
            if len(left) % 10 == 0:
                gone_from_tables(registry, len(left))
    eventually(lambda: registry.stats().unwatched_by_kernel == 0)


def test_all_die_at_once_under_a_registrar_without_descriptors(registry: Registry, registry_folder: Path) -> None:
    """Processes that the registrar watches without a descriptor leave the tables when they die at the same time."""
    start_limited(registry_folder)
    with crowd(300) as many:
        for number, pid in enumerate(many.pids):
            registry.register(f"m{number}", pid)
        registry.register("me")
        many.kill()
        assert [entry.process_id.local_id for entry in registry.find()] == ["me"]
        gone_from_tables(registry, 1)
        many.reap()


def test_a_registrar_without_descriptors_takes_further_clients_when_it_can(
    registry: Registry, registry_folder: Path
) -> None:
    """With more clients than the registrar has descriptors, each is served or gets `SystemBusy`; when the others have
    left, every client is served."""
    start_limited(registry_folder)
    # Each has a registry object of its own, and so a connection of its own.
    opened = [adsum.open(path=registry_folder, timeout=2) for _ in range(REGISTRAR_LIMIT)]
    refused = 0
    try:
        for number, one in enumerate(opened):
            try:
                one.register(f"client-{number}")
            except (SystemBusy, adsum.Timeout):
                refused += 1
                if refused == 3:
                    break
    finally:
        for one in opened:
            one.close()
    assert refused
    eventually(lambda: _served(registry))


def _served(registry: Registry) -> bool:
    try:
        return registry.register("later").unregister()
    except SystemBusy:
        return False


def _read_with_few(folder: str) -> None:
    """On each request, read all entries in three ways, and print how many each found and the open descriptors."""
    registry = adsum.open(path=folder)
    while True:
        words = input().split()
        found = sum(registry.lookup(f"s{number}") is not None for number in range(int(words[0])))
        print(found, len(registry.find()), registry.count(), open_descriptors())


def test_a_reader_with_few_descriptors_reads_right(registry: Registry, registry_folder: Path) -> None:
    """A reader that can keep far fewer descriptors than there are owners finds all living members and no dead ones,
    without help from a registrar."""
    with (
        Child(_read_with_few, registry_folder, preexec_fn=_limit(READER_LIMIT)) as reader,
        sleepers(100) as processes,
    ):
        for number, process in enumerate(processes):
            registry.register(f"s{number}", process)
        with stopped(registry_folder):
            for alive in range(100, -1, -25):
                reader.say("100")
                *found, descriptors = map(int, reader.line().split())
                assert found == [alive] * 3
                assert descriptors < READER_LIMIT
                for process in processes[alive - 25 : alive] if alive else []:
                    kill_unreaped(process)


def test_a_reader_keeps_no_more_descriptors_than_its_bound(registry: Registry, registry_folder: Path) -> None:
    """A reader of the entries of 3,000 owners keeps a bounded number of descriptors: a quarter of its limit."""
    with crowd(3000) as many:
        for future in [registry.register_nowait(f"s{number}", pid) for number, pid in enumerate(many.pids)]:
            future.result()
        with Child(_read_with_few, registry_folder, preexec_fn=_limit(400)) as reader:
            reader.say("3000")
            *found, descriptors = map(int, reader.line(60).split())
            assert found == [3000] * 3
            assert descriptors < 400 // 4 + 20


class Hoard:
    """Holds every descriptor that this process can still open."""

    def __init__(self) -> None:
        self._held: list[int] = []

    def __enter__(self) -> Hoard:
        try:
            while True:
                self._held.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
        return self

    def give_back(self, number: int) -> None:
        for _ in range(number):
            os.close(self._held.pop())

    def __exit__(self, *_: object) -> None:
        self.give_back(len(self._held))


# Each prints the outcome of its call without a free descriptor: the result, or the reason of the error.
_NONE_LEFT: dict[str, Callable[[str, Registry], object]] = {
    "lookup": lambda _, registry: registry.lookup("s0") is not None,
    "find": lambda _, registry: len(registry.find()),
    "count": lambda _, registry: registry.count(),
    "stats": lambda _, registry: registry.stats().entries > 0,
    "audit": lambda _, registry: registry.audit() == [],
    "departures": lambda _, registry: registry.departures() is not None,
    "open": lambda folder, _: adsum.open(path=folder).close(),
    "register": lambda _, registry: registry.register("new").unregister(),
    "register_nowait": lambda _, registry: registry.register_nowait("new").result(15).unregister(),
    "stand_by": lambda _, registry: registry.stand_by("free").result(15).unregister(),
    "watch": lambda _, registry: _follow(registry),
    "wait_for": lambda _, registry: registry.wait_for("s0", timeout=5) is not None,
    "wait_for nobody": lambda _, registry: registry.wait_for("nobody", timeout=5),
    "another registry": lambda folder, _: adsum.open(path=f"{folder}-2", timeout=10).register("new").unregister(),
}


def _follow(registry: Registry) -> bool:
    with registry.watch(since=0) as watch:
        return watch.next(5).revision == 1


def _run_out(folder: str, what: str, warm: str, members: str) -> None:
    call = _NONE_LEFT[what]
    registry = adsum.open(path=folder, timeout=10)
    if warm == "warm":
        assert registry.lookup("s0")
    if warm != "cold":
        registry.register("warm")
    with Hoard():
        try:
            outcome = str(call(folder, registry))
        except AdsumError as error:
            outcome = error.reason
        except Exception as error:  # noqa: BLE001 - the test prints any error
            outcome = repr(error)
    print(outcome)
    try:
        assert registry.lookup("s0")
        assert len(registry.find()) == int(members) + (warm != "cold")
        registry.register("again").unregister()
        assert registry.register_nowait("and again").result(5).unregister()
        # A request that was answered with an error is not carried out later.
        assert registry.lookup("new") is None
        registry.close()
        print("fine")
    except Exception as error:  # noqa: BLE001 - likewise
        print(repr(error))


@pytest.mark.parametrize("warm", ["warm", "cold", "written, not read"])
def test_no_descriptor_left(registry: Registry, registry_folder: Path, warm: str) -> None:
    """A process without a free descriptor gets right answers or an error that says so; with free descriptors it works
    as before."""
    members = 5
    for number in range(members):
        registry.register(f"s{number}")
    outcomes: dict[str, str] = {}
    afterwards: dict[str, str] = {}
    for what in _NONE_LEFT:
        with Child(_run_out, registry_folder, what, warm, members, preexec_fn=_limit(64)) as poor:
            outcomes[what] = poor.line(30)
            afterwards[what] = poor.line(30)
    right = {"find": str(members), "count": str(members), "open": "None"}
    if warm != "cold":
        right = {"find": str(members + 1), "count": str(members + 1), "open": "None"}
    wrong = {what: word for what, word in outcomes.items() if word not in (right.get(what, "True"), "system_busy")}
    assert (wrong, set(afterwards.values())) == ({}, {"fine"})


def _register_with_few(folder: str, most: str) -> None:
    """Print what becomes of a registry that has to start its registrar, for each number of free descriptors."""
    with adsum.open(path=f"{folder}-warm", timeout=10, limits=adsum.Limits(linger=0.5)) as registry:
        registry.register("all modules are imported").unregister()
    limits = adsum.Limits(linger=0.5)
    for free in range(int(most)):
        with Hoard() as hoard:
            hoard.give_back(free)
            try:
                with adsum.open(path=f"{folder}-{free}", timeout=10, limits=limits) as registry:
                    outcome = str(registry.register("new").unregister())
            except Exception as error:  # noqa: BLE001 - the test prints any error
                outcome = getattr(error, "reason", repr(error))
        print(outcome)


def test_few_descriptors_left_to_start_a_registrar(registry_folder: Path) -> None:
    """Wherever on its way a start of a registrar needs one descriptor more than there are, the error says so."""
    most = 12
    with Child(_register_with_few, registry_folder, str(most), preexec_fn=_limit(64)) as poor:
        outcomes = [poor.line(30) for _ in range(most)]
    assert set(outcomes) == {"system_busy", "True"}
    assert (outcomes[0], outcomes[-1]) == ("system_busy", "True")
