"""Histories of claims: the real committer, engine and tables, with clients that check what they are told.

Members come and go, processes claim, release, die and end their sessions, and the registrar is killed at its commits,
or finds no room. After each batch the rules of claims are compared with the tables, which are read row by row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import lmdb
import msgspec

from adsum import _wire as wire
from adsum._engine.batch import Call
from adsum._registrar.replies import OutgoingReply
from adsum._validation import MetadataFields
from adsum.model import HealthStatus, Limits, Owner, ProcessId

from .faults import Fault, injections_of
from .world import World

PIDS, IDS = range(2, 8), ("a", "b", "c")
ACTIONS = ("claim",) * 6 + ("release",) * 5 + ("register", "unregister", "health", "die", "end")
FAULTS: tuple[Fault, ...] = ("answered",) * 12 + ("killed_before", "killed_after", "no_room")


@dataclass
class Sent:
    """A request that has no answer yet, or a claim that waits."""

    owner: Owner
    number: int
    request: Any

    @property
    def session(self) -> bytes:
        return repr(self.owner).encode()

    def call(self) -> Call:
        return Call(self.session, self.number, 2**62, self.request, self.owner)


@dataclass
class Held:
    """A claim that its client was granted: of the registration of a member with this incarnation."""

    owner: Owner
    id: str
    incarnation: int


@dataclass
class Member:
    """A member in the tables."""

    incarnation: int
    slots: int
    healthy: bool
    claims: dict[int, Owner] = field(default_factory=dict)


class ClaimHistory:
    """One history, from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.world = World(Limits())
        for pid in PIDS:
            self.world.processes.start(pid)
        self.number = 0
        self.pending: list[Sent] = []
        self.ended: list[Owner] = []
        # By the number of the claim, in the order in which they began to wait.
        self.waiting: dict[int, Sent] = {}
        self.held: dict[int, Held] = {}
        self.grants = self.crashes = 0
        self._are_coming_back = False

    def run(self, batches: int) -> None:
        try:
            for _ in range(batches):
                for _ in range(self.random.randrange(4)):
                    self._act()
                self._commit(self.random.choice(FAULTS))
                self._check()
        finally:
            self.world.close()

    # What clients do

    def _act(self) -> None:
        owner = self.random.choice(self.world.processes.living)
        match self.random.choice(ACTIONS):
            case "claim":
                id = self.random.choice((*IDS, None, None))
                self.number += 1
                process_id = None if id is None else named(id)
                waits = self.random.random() < 0.8
                self._ask(
                    owner,
                    wire.Claim(owner=owner, number=self.number, namespace="n", process_id=process_id, may_wait=waits),
                )
            case "release":
                self._release()
            case "register":
                fields = MetadataFields(slots=self.random.choice((1, 2, None)))
                self._ask(owner, wire.Register(owner=owner, items=[(named(self.random.choice(IDS)), fields)]))
            case "unregister":
                self._ask(owner, wire.Unregister(process_id=named(self.random.choice(IDS))))
            case "health":
                fields = MetadataFields(health_status=self.random.choice((HealthStatus.healthy, HealthStatus.degraded)))
                self._ask(owner, wire.Update(process_id=named(self.random.choice(IDS)), fields=fields))
            case "die":
                self.world.processes.kill(owner)
                self.world.processes.start(owner.pid)
            case _:
                self.ended.append(owner)

    def _release(self) -> None:
        known = [(number, one.owner) for number, one in self.held.items()]
        known += [(number, sent.owner) for number, sent in self.waiting.items()]
        if known:
            number, owner = self.random.choice(known)
            if self.world.processes.is_alive(owner):
                self.held.pop(number, None)
                self.waiting.pop(number, None)
                self._ask(owner, wire.Release(owner=owner, number=number))

    def _ask(self, owner: Owner, request: Any) -> None:
        self.number += 1
        self.pending.append(Sent(owner, self.number, request))

    # The registrar

    def _commit(self, fault: Fault) -> None:
        world, asked, ended = self.world, self.pending, self.ended
        self.pending, self.ended = [], []
        deaths = world.watch.deaths() if self.random.random() < 0.8 else []
        sessions = {repr(owner).encode() for owner in ended}
        # A client whose session is over waits for nothing, and asks no more.
        asked = [sent for sent in asked if sent.session not in sessions]
        self.waiting = {number: sent for number, sent in self.waiting.items() if sent.session not in sessions}
        world.clock.advance(0.001)
        world.injections = injections_of(fault)
        outcome = world.commit(deaths, [(owner, repr(owner).encode()) for owner in ended], asked)  # type: ignore[arg-type]
        if not outcome.alive:
            self._restart(asked)
            return
        assert outcome.answers is not None
        self._answered(outcome.answers, asked)

    def _restart(self, asked: list[Sent]) -> None:
        """The next registrar serves, and all clients ask again for what has no answer, in any order."""
        self.crashes += 1
        while not self.world.start():
            pass
        again = [sent for sent in (*asked, *self.waiting.values()) if self.world.processes.is_alive(sent.owner)]
        self.random.shuffle(again)
        self.waiting = {number: sent for number, sent in self.waiting.items() if sent in again}
        receipts = {sent.number: self.world.core.receipts.reply_to(sent.session, sent.number) for sent in again}
        for sent in again:
            if (data := receipts[sent.number]) is not None:
                self.world.core.receipts.sent(sent.session, sent.number)
                self._take(sent, data)
        self.pending += [sent for sent in again if receipts[sent.number] is None]
        # A claim that is back may get a slot before an older one that comes back in the same batch.
        self._are_coming_back = True
        self._commit("answered")
        self._are_coming_back = False

    def _answered(self, answers: Iterable[OutgoingReply], asked: list[Sent]) -> None:
        expected = {(sent.session, sent.number): sent for sent in (*self.waiting.values(), *asked)}
        late = [answer for answer in answers if answer.deadline is None]
        for answer in late:
            self.world.core.receipts.sent(answer.session, answer.number)
        names = [(answer.session, answer.number) for answer in late]
        self._check_order([expected[name] for name in names if name in expected])
        # `Queued` after the late reply to the same request is ignored, as by clients.
        for answer in answers:
            name = answer.session, answer.number
            if name in expected and (answer.deadline is None or name not in names):
                self.world.core.receipts.sent(*name)
                self._take(expected[name], answer.data)

    def _take(self, sent: Sent, data: bytes) -> None:
        request, reply = sent.request, wire.decode_reply(data[4:])
        if not isinstance(request, wire.Claim):
            return
        if isinstance(reply, wire.Queued):
            sent.request = msgspec.structs.replace(request, position=reply.position)
            self.waiting.setdefault(request.number, sent)
            return
        self.waiting.pop(request.number, None)
        if isinstance(reply, wire.Done) and reply.entries:
            self.grants += 1
            entry = reply.entries[0]
            assert request.number in {one.number for one in entry.claims}
            self.held[request.number] = Held(sent.owner, entry.process_id.local_id, entry.incarnation)

    # The rules

    def _check_order(self, granted: list[Sent]) -> None:
        """Of claims that wait for the same thing, none is granted before an older one whose claimer lives."""
        for sent in granted if not self._are_coming_back else ():
            for other in self.waiting.values():
                same = other.request.process_id == sent.request.process_id and other not in granted
                if same and self.world.processes.is_alive(other.owner):
                    assert not 0 < other.request.position < sent.request.position, f"{sent} was before {other}"

    def _check(self) -> None:
        members = self._members()
        living = self.world.processes.is_alive
        unreported = set(self.world.watch.deaths())
        stored = {number: owner for member in members.values() for number, owner in member.claims.items()}
        for id, member in members.items():
            assert len(member.claims) <= member.slots, f"{id} has {member}"
        assert all(living(owner) or owner in unreported for owner in stored.values()), "a claim of the dead"
        for number, one in list(self.held.items()):
            if living(one.owner) and one.id in members and members[one.id].incarnation == one.incarnation:
                assert members[one.id].claims.get(number) == one.owner, f"claim {number} of {one} was lost"
            else:
                del self.held[number]
        owners = {Owner(*entry[1:4]) for entry in self._entries()}
        # I5: a claimer that owns no entry is monitored for its slot.
        assert set(self.world.watch.watched) == owners | set(stored.values()), "it watches others"
        waiting = self.world.engine.memory.claimers.waiting
        for claim in waiting:
            free = [id for id, member in members.items() if member.healthy and len(member.claims) < member.slots]
            wanted = claim.query.process_id
            # The member's owner may have died, and not be reported yet.
            assert unreported or not [id for id in free if wanted in (None, named(id))], (
                f"{claim} waits, free are {free}"
            )
        assert [one.position for one in waiting] == sorted(one.position for one in waiting)

    def _entries(self) -> list[Any]:
        environment: lmdb.Environment = self.world.environment.lmdb
        with environment.begin() as txn:
            table = environment.open_db(b"entries", txn, create=False)
            return [msgspec.msgpack.decode(row)[0] for _, row in txn.cursor(db=table)]

    def _members(self) -> dict[str, Member]:
        members = {}
        for entry in self._entries():
            metadata, claims = entry[8], {one[0]: Owner(*one[1:4]) for one in entry[11]}
            members[entry[0][2]] = Member(entry[4], metadata[12] or 1, metadata[4] == "healthy", claims)
        return members


def named(local_id: str) -> ProcessId:
    return ProcessId("n", "n", local_id)
