"""Histories of names for the whole cluster: clients that record what they ask, and the model for the checker.

A name is held by one request at a time, under a token that is larger than all before. What a history says about that:

- **register** takes a free name (granted), or finds that a host holds it (refused). A request without either answer may
  have held the name for a while, at any time after it was called: its client was killed, or got `Timeout` or
  `ClusterUnavailable`. So it explains a refusal that names its host, and prevents no grant.
- **holds**: the holder reads `Registration.valid` and its token, or unregisters an entry that was there. At some
  instant of the call no other request holds the name, and the token is the one that was granted.
- **lost**: a living holder finds that its entry is gone. No order explains that while all leases last.
- **freed**: the holder has begun to unregister, or was killed. Its host frees the name at some instant after that,
  which has no bound while bridges and etcd are killed.

Reads by others are left out. `lookup` finds what its host has heard, and `catch_up` waits for what was *published*: a
grant is acknowledged before its entry is. So they are not linearizable, and are not promised to be.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import select
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import adsum
from adsum import AlreadyRegistered, ClusterUnavailable, Registration, Registry, Timeout
from tests.support.linearizability import NEVER, Model, Operation, Refused

NAMES = ("leader", "writer")
# The numbers of the requests of one client.
REQUESTS = 1_000_000
# In place of the request that holds a name.
FREE, UNANSWERED = -1, -2


# The model


class Name(NamedTuple):
    """The state of a name: the request that holds it, its host, and the largest token so far. `unanswered`: the hosts
    of the requests without an answer that have been placed in the order."""

    request: int = FREE
    host: str = ""
    token: int = 0
    unanswered: tuple[str, ...] = ()


def _register(state: Name, operation: Operation) -> Name:
    match operation.answer:
        case ("granted", str(host), int(token)) if state.request < 0 and token > state.token:
            return Name(operation.argument or 0, host, token, state.unanswered)
        case ("refused", host) if state.request != FREE and state.host == host:
            return state
        case ("unanswered", str(host), number) if state.request < 0 and state.unanswered.count(host) == number:
            return Name(UNANSWERED, host, state.token, tuple(sorted([*state.unanswered, host])))
    raise Refused


def _holds(state: Name, operation: Operation) -> Name:
    if (state.request, state.token) != (operation.argument, operation.answer[0]):
        raise Refused
    return state


def _lost(_state: Name, _operation: Operation) -> Name:
    raise Refused


def _freed(state: Name, operation: Operation) -> Name:
    if state.request != operation.argument:
        raise Refused
    return Name(token=state.token, unanswered=state.unanswered)


CLUSTER_NAMES = Model(Name(), {"register": _register, "holds": _holds, "lost": _lost, "freed": _freed})


# The clients


class Journal:
    """A file of what a client has asked and heard, complete up to the moment at which the client is killed."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, word: str, request: int, *fields: object) -> int:
        """Write a line, and return its time."""
        now = time.monotonic_ns()
        os.write(self._file, json.dumps([word, request, now, *fields]).encode() + b"\n")
        return now


class Client:
    """Asks for names, holds them for a moment, and frees them."""

    def __init__(self, registry: Registry, number: int, rng: random.Random, journal: Journal) -> None:
        self._registry = registry
        self._rng = rng
        self._journal = journal
        self._requests = itertools.count(number * REQUESTS)
        self._held: dict[str, tuple[int, Registration]] = {}

    def step(self) -> None:
        """One random call."""
        name = self._rng.choice(NAMES)
        if name not in self._held:
            self._ask(name)
        elif self._rng.random() < 0.5:
            self._look(*self._held[name])
        else:
            self._free(name)

    def end(self) -> None:
        """Free all that is held."""
        for name in list(self._held):
            self._free(name)

    def _ask(self, name: str) -> None:
        request = next(self._requests)
        # As long as a request takes, so that it is given up at any moment of its way; or long enough for all.
        timeout = self._rng.uniform(0.002, 0.02) if self._rng.random() < 0.1 else 10.0
        self._journal.note("asks", request, name)
        try:
            registration = self._registry.register(name, everywhere=True, timeout=timeout)
        except AlreadyRegistered as error:
            origin = error.entry.origin
            self._journal.note("refused", request, error.entry.process_id.node if origin is None else origin.host)
        except (Timeout, ClusterUnavailable) as error:
            self._journal.note("failed", request, error.reason)
        else:
            self._journal.note("granted", request, registration.entry.fencing_token)
            self._held[name] = request, registration

    def _look(self, request: int, registration: Registration) -> None:
        called = time.monotonic_ns()
        token = registration.fencing_token
        if registration.valid:
            self._journal.note("holds", request, token, called)

    def _free(self, name: str) -> None:
        request, registration = self._held.pop(name)
        token, called = registration.fencing_token, self._journal.note("frees", request)
        timed_out = False
        while True:
            try:
                changed = registration.unregister()
            except Timeout:
                timed_out = True
                continue
            break
        if changed:
            self._journal.note("holds", request, token, called)
        elif not timed_out:
            self._journal.note("lost", request, token, called)


def run_client(folder: str, host: str, address: str, number: str, seed: str, journal: str) -> None:
    """Make calls until a line comes; then free all names, and wait for the end of the input."""
    registry = adsum.open(path=folder, node=host, cluster=address, timeout=10)
    rng = random.Random(seed)
    client = Client(registry, int(number), rng, Journal(Path(journal)))
    while not select.select([sys.stdin], [], [], rng.uniform(0.0, 0.02))[0]:
        client.step()
    client.end()
    print("done")
    sys.stdin.read()


# From journals to a history


class Request:
    """What became of one request."""

    def __init__(self, number: int, name: str, host: str, called: int) -> None:
        self.number, self.name, self.host, self.called = number, name, host, called
        self.answered = NEVER
        self.answer: tuple[object, ...] = ()
        self.token = 0
        self.freed = 0
        # Kind, token, called and answered.
        self.looks: list[tuple[str, int, int, int]] = []

    def operations(self, unanswered: Counter[tuple[str, str]], died: int) -> Iterator[Operation]:
        """Its operations. `unanswered` counts the requests without an answer, which are given in order of their
        calls."""
        if not self.answer:
            number = unanswered[self.name, self.host]
            unanswered[self.name, self.host] += 1
            self.answer = "unanswered", self.host, number
        yield Operation(self.name, "register", self.number, self.answer, self.called, self.answered)
        for kind, token, called, answered in self.looks:
            yield Operation(self.name, kind, self.number, (token,), called, answered)
        if self.token:
            yield Operation(self.name, "freed", self.number, (), self.freed or died, NEVER)


def requests_of(journal: Path, host: str) -> list[Request]:
    """What a client of this host has asked."""
    requests: dict[int, Request] = {}
    for line in journal.read_text().splitlines():
        word, number, now, *fields = json.loads(line)
        if word == "asks":
            requests[number] = Request(number, fields[0], host, now)
        elif word == "granted":
            requests[number].token = fields[0]
            requests[number].answer, requests[number].answered = ("granted", host, fields[0]), now
        elif word == "refused":
            requests[number].answer, requests[number].answered = ("refused", fields[0]), now
        elif word in ("holds", "lost"):
            requests[number].looks.append((word, fields[0], fields[1], now))
        elif word == "frees":
            requests[number].freed = now
    return list(requests.values())


def history(requests: Iterable[Request], deaths: Mapping[int, int]) -> list[Operation]:
    """All operations. `deaths` has the time at which each client was killed, by its number."""
    unanswered: Counter[tuple[str, str]] = Counter()
    operations: list[Operation] = []
    for request in sorted(requests, key=lambda one: one.called):
        operations += request.operations(unanswered, deaths.get(request.number // REQUESTS, NEVER))
    return operations
