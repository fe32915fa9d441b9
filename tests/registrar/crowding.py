"""Processes that fill a registry, and one that lives with them in a small place."""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import adsum
from adsum import AdsumError, Registry, RegistryFull, SystemBusy, Timeout

from ..support import Child, eventually, registrar_pid

# What a write may raise where memory is short.
EXPECTED = {error.reason for error in (RegistryFull, SystemBusy, Timeout)}
# A bound for tests, not a promise: a busy machine is no finding.
_SOON = 5.0


class Tally(NamedTuple):
    """What the writes of one process gave: how many succeeded, how often each reason, and foreign errors."""

    done: int
    reasons: dict[str, int]
    foreign: list[str]

    def is_documented(self, *also: str) -> bool:
        return not self.foreign and self.reasons.keys() <= EXPECTED | set(also)


def crowd(folder: str) -> None:
    """Register, update and unregister until a line comes in; then print the tally. Prints ``full`` once, at the first
    error."""
    done, reasons, foreign = 0, dict[str, int](), list[str]()
    with adsum.open(path=folder) as registry:
        for number in _until_a_line_comes():
            try:
                done += _write(registry, number)
                continue
            except AdsumError as error:
                reasons[error.reason] = reasons.get(error.reason, 0) + 1
            except Exception as error:  # noqa: BLE001 - this is what the test looks for
                foreign.append(repr(error))
            if sum(reasons.values()) + len(foreign) == 1:
                print("full")
            time.sleep(0.02)
        print(json.dumps(Tally(done, reasons, foreign)))
        sys.stdin.readline()


def _until_a_line_comes() -> Iterator[int]:
    number = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        yield number
        number += 1


def _write(registry: Registry, number: int) -> int:
    name = f"{os.getpid()}-{number}"
    registry.register(name, custom={"x": os.urandom(500 * (number % 20)).hex()})
    if number % 3 == 0:
        registry.update(name, custom={"x": "shorter"})
    if number % 5 == 0:
        registry.unregister(name)
    return 1


def tally_of(child: Child) -> Tally:
    child.say()
    return Tally(*json.loads(child.line(30)))


def live(folder_text: str) -> None:
    """A crowd fills the registry, and a file the rest of its file system; a member dies, then there is room again."""
    folder = Path(folder_text)
    with ExitStack() as stack:
        registry = stack.enter_context(adsum.open(path=folder, timeout=10))
        registry.register("early")
        filler = folder.with_name("filler")
        filler.touch()
        members = [stack.enter_context(Child(crowd, folder)) for _ in range(3)]
        for member in members:
            member.expect("full", 60)
        fill(filler)
        _die(members[0], registry)
        eventually(lambda: registry.stats().entries == registry.count(), _SOON)
        for member in members[1:]:
            member.stop()
        rests(folder)
        filler.unlink()
        _die(members[1], registry)
        eventually(lambda: registers(registry, "late"), _SOON)
        eventually(lambda: registry.stats().entries == registry.count(), _SOON)
        assert "early" in registry
        members[2].resume()
        tally = tally_of(members[2])
        assert tally.is_documented(), tally
        assert registry.audit() == []
        print(json.dumps(tally))


def fill(filler: Path) -> None:
    """Use up every page that is left."""
    with open(filler, "ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def _die(member: Child, registry: Registry) -> None:
    """Once it is dead, no read finds it."""
    member.kill()
    assert not [entry for entry in registry.find() if entry.pid == member.pid]


def registers(registry: Registry, name: str) -> bool:
    try:
        registry.register(name, custom={"x": "y" * 20_000})
    except (RegistryFull, SystemBusy, Timeout):
        return False
    return True


def rests(folder: Path) -> None:
    """The registrar uses little processor while nothing but time passes."""
    pid = registrar_pid(folder)
    if pid is None:
        return
    before = _ticks(pid)
    time.sleep(2)
    assert (_ticks(pid) - before) / os.sysconf("SC_CLK_TCK") < 0.5


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
