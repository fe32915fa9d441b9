"""A seeded driver: histories as long as one likes, at a tenth of the state machine's price for a step."""

from __future__ import annotations

from random import Random

from adsum.model import Limits, Owner

from .asks import Ask, Fields, Id, Item, Kind
from .faults import FAULTS, Fault
from .play import Play
from .strategies import ADDITIONS, FLAWED_FIELDS, FLAWED_IDS, IMPOSSIBLE_OWNERS, MERGES
from .world import SECOND

NAMESPACES = ("default", "default\x01", "team")
PIDS = range(1, 33)
CAPABILITIES = ("read", "parse", "count", "check", "plan")
INJECTED: tuple[Fault, ...] = tuple(fault for fault in FAULTS if fault != "answered")
KEEP_DEPARTURES = 1000
KINDS: tuple[Kind, ...] = (
    *("register", "register", "register", "register", "update", "update", "update"),
    *("amend", "amend", "update_many", "unregister_many"),
    *("unregister", "hand_over", "heartbeat", "stand_by", "stand_by", "cancel", "exit_of", "exit_of"),
)


class Driver:
    """Drives one registry at random. Its steps depend on `seed` alone, so a failure can be replayed from it."""

    def __init__(self, seed: int, *, check_every: int) -> None:
        self.random = Random(seed)
        self.play = Play(Limits(), keep_departures=KEEP_DEPARTURES, check_every=check_every)
        self.deaths = self.crashes = 0

    def run(self, deaths_and_crashes: int) -> None:
        """Go on until so many processes and registrars have died."""
        try:
            while self.deaths + self.crashes < deaths_and_crashes:
                self._step()
            self.play.commit()
            self.play.look()
        finally:
            self.play.close()

    def _step(self) -> None:
        """Some time passes, some processes come and go, some ask; then the registrar has its turn."""
        random, processes = self.random, self.play.world.processes
        self.play.world.clock.advance(random.expovariate(10))
        if random.random() < 0.01:
            self.play.world.clock.set_wall(random.uniform(-3600, 3600))
        for pid in random.sample(PIDS, 4):
            if pid not in {process.pid for process in processes.living}:
                processes.start(pid)
        for _ in range(random.choice((1, 1, 2, 3, 6))):
            self._ask()
        for entry in random.sample(list(self.play.model.holders.values()), min(3, len(self.play.model.holders))):
            if processes.is_alive(Owner(*entry.owner)):
                self.play.leave_heartbeat(Owner(*entry.owner), entry.id)
        for process in random.sample(processes.living, random.choice((0, 1, 1, 2))):
            self._die(process)
        self._turn()

    def _turn(self) -> None:
        random = self.random
        if random.random() < 0.02:
            self.play.tick(random.choice((1.0, 61.0)))
            self.play.read_replies()
        if random.random() < 0.03:
            self.crashes += 1
            self.play.restart(killed_at=random.choice((None, "sweeping", "before_commit", "after_commit")))
        if random.random() < 0.001:
            self.play.move(random.choice(("", "before_switch", "after_switch")))
        fault: Fault = random.choice(INJECTED) if random.random() < 0.1 else "answered"
        self.crashes += fault.startswith("killed")
        self.play.commit(fault, notice=random.random() < 0.9)

    def _die(self, process: Owner) -> None:
        self.deaths += 1
        if self.random.random() < 0.5:
            self.play.end_session(process)
        if self.random.random() < 0.1:
            self.play.world.processes.fuses[process] = self.random.randrange(3)
        else:
            self.play.world.processes.kill(process)

    def _ask(self) -> None:
        random = self.random
        living = self.play.world.processes.living
        if not living:
            return
        caller = random.choice(living)
        kind: Kind = random.choice(KINDS)
        many = random.random() < 0.2 if kind == "register" else kind in ("update_many", "unregister_many")
        items = tuple(self._item() for _ in range(random.randint(2, 4) if many else 1))
        session = self.play.session_of(caller)
        standing_by = [one.number for one in self.play.model.queues.in_session(session)]
        self.play.ask(
            Ask(
                kind,
                session,
                self.play.next_number(session),
                self.play.world.clock.nanoseconds + (-SECOND if random.random() < 0.03 else SECOND),
                items,
                owner=self._owner(caller),
                bound=kind == "register" and random.random() < 0.2,
                or_get=kind == "register" and not many and random.random() < 0.2,
                checked=kind == "update" and random.random() < 0.4,
                if_incarnation=self._incarnation(kind, items[0].id),
                caller=caller,
                stand_by=random.choice(standing_by or [0]),
                code=random.choice((0, 3, -9)),
                merged=random.choice(MERGES) if kind == "amend" else {},
                added=random.choice(ADDITIONS) if kind == "amend" else {},
            )
        )

    def _owner(self, caller: Owner) -> Owner:
        where = self.random.random()
        if where < 0.7:
            return caller
        if where < 0.95:
            return self.random.choice(self.play.world.processes.ever[-40:])
        return self.random.choice(IMPOSSIBLE_OWNERS)

    def _incarnation(self, kind: str, id: Id) -> int | None:
        held = self.play.model.holders.get(id)
        right = held.incarnation if held else 1
        if kind in ("stand_by", "cancel", "exit_of"):
            return None
        return self.random.choice((right, right, 1) if kind == "hand_over" else (None, None, right, 1))

    def _item(self) -> Item:
        random = self.random
        id = (random.choice(NAMESPACES), random.choice("nm"), f"agent {random.randrange(12)}")
        if random.random() < 0.03:
            return Item(id, random.choice(FLAWED_FIELDS), "invalid_metadata")
        if random.random() < 0.03:
            return Item(random.choice(FLAWED_IDS), {}, "invalid_process_id")
        return Item(id, self._fields())

    def _fields(self) -> Fields:
        random = self.random
        given: Fields = {"capabilities": frozenset(random.sample(CAPABILITIES, random.randrange(4)))}
        if random.random() < 0.3:
            given["type"] = random.choice(("agent", "service", "coordinator", "resource_manager"))
        if random.random() < 0.3:
            given["health_status"] = random.choice(("healthy", "degraded", "unhealthy"))
        if random.random() < 0.2:
            given["heartbeat"] = random.choice((None, 0.2, 5.0))
        if random.random() < 0.1:
            given["gauges"] = {"load": random.random()}
        if random.random() < 0.2:
            given["custom"] = {"blob": bytes(random.randrange(6000))}
        return given
