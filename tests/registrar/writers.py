"""What a process does in a storm: it writes for a while and says what was acknowledged."""

from __future__ import annotations

import json
import random
import sys
import time
from typing import NamedTuple

import adsum
from adsum import AdsumError, Registration, Registry

BURST = 100


class Tally(NamedTuple):
    """The tally of one writer: revisions it caused, its own entries, answers that cannot be right."""

    revisions: int
    standing: dict[str, int]
    wrong: list[str]


def write(folder: str, name: str, seed: str, seconds: str) -> None:
    """Write under ids of its own until the time is over; print the tally, and stay until it is asked to leave."""
    with adsum.open(path=folder, timeout=30) as registry:
        writer = _Writer(registry, name, random.Random(f"{seed}-{name}"))
        until = time.monotonic() + float(seconds)
        while time.monotonic() < until:
            try:
                writer.step()
            except AdsumError as error:
                writer.wrong.append(repr(error))
        print(json.dumps(Tally(writer.revisions, writer.standing, writer.wrong)))
        sys.stdin.readline()


def tally(line: str) -> Tally:
    return Tally(*json.loads(line))


class _Writer:
    """No other process touches its ids, so it knows what every answer must be."""

    def __init__(self, registry: Registry, name: str, chance: random.Random) -> None:
        self.registry = registry
        self.name = name
        self.chance = chance
        self.revisions = 0
        self.standing: dict[str, int] = {}
        self.wrong: list[str] = []
        self.made = 0

    def step(self) -> None:
        steps = [self.register, self.update, self.update, self.unregister, self.many, self.burst]
        self.chance.choice(steps)()

    def fresh(self) -> str:
        self.made += 1
        return f"{self.name}-{self.made}"

    def stands(self, made: Registration, count: int = 0) -> None:
        self.revisions += 1
        self.standing[made.process_id.local_id] = count

    def register(self) -> None:
        self.stands(self.registry.register(self.fresh(), custom={"count": 0}))

    def many(self) -> None:
        for made in self.registry.register_many([(self.fresh(), {"custom": {"count": 0}}) for _ in range(3)]):
            self.stands(made)

    def burst(self) -> None:
        futures = [self.registry.register_nowait(self.fresh(), custom={"count": 0}) for _ in range(BURST)]
        for future in futures:
            try:
                self.stands(future.result(60))
            except AdsumError as error:
                self.wrong.append(repr(error))
        for name in self.chance.sample(sorted(self.standing), len(self.standing) * 9 // 10):
            self._remove(name)

    def update(self) -> None:
        if not self.standing:
            return
        name = self.chance.choice(sorted(self.standing))
        found = self.registry[name].metadata.custom["count"]
        if found != self.standing[name]:
            self.wrong.append(f"{name} was acknowledged at {self.standing[name]} and stands at {found}")
        self.registry.update(name, custom={"count": self.standing[name] + 1})
        self.revisions += 1
        self.standing[name] += 1

    def unregister(self) -> None:
        if self.standing:
            self._remove(self.chance.choice(sorted(self.standing)))

    def _remove(self, name: str) -> None:
        if not self.registry.unregister(name):
            self.wrong.append(f"{name} was not there to be removed")
        self.revisions += 1
        del self.standing[name]
