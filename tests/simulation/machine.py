"""The state machine: clients, deaths, crashes and clocks in any order that Hypothesis can think of."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from adsum.model import Limits, Owner

from .asks import Ask, Fields, Id, Item
from .fates import FATES, Fate
from .play import Play
from .strategies import IDS, IMPOSSIBLE_OWNERS, LIMITS, PIDS, SMALL, TIGHT_MEMORY, fields, items, maybe_flawed
from .world import SECOND

TIMES = ("created_at", "last_health_check")
Condition = Literal["none", "right", "stale"]


def _living(machine: RegistryMachine) -> st.SearchStrategy[Owner]:
    return st.sampled_from(machine.play.world.processes.living)


def _anybody(machine: RegistryMachine) -> st.SearchStrategy[Owner]:
    processes = machine.play.world.processes
    return st.sampled_from([*processes.living * 4, *processes.dead[-3:], *IMPOSSIBLE_OWNERS])


def _dying(machine: RegistryMachine) -> st.SearchStrategy[Owner]:
    living = machine.play.world.processes.living
    return st.sampled_from([*(owner for owner in living if machine.play.model.owned(owner)), *living])


def _id(machine: RegistryMachine) -> st.SearchStrategy[Id]:
    held = sorted(machine.play.model.held)
    return st.sampled_from([*held, *held, *IDS])


living = st.runner().flatmap(_living)
dying = st.runner().flatmap(_dying)
anybody = st.runner().flatmap(_anybody)
known_ids = st.runner().flatmap(_id)
conditions: st.SearchStrategy[Condition] = st.sampled_from(("none", "right", "right", "stale"))
# Most requests are committed alone; those of None wait, and make a batch with what comes next.
fates: st.SearchStrategy[Fate | None] = st.sampled_from((*["answered"] * 6, None, None, None, *FATES))


class RegistryMachine(RuleBasedStateMachine):
    """Every rule does one thing to the registry; every commit and every restart is followed by all checks."""

    play: Play

    @initialize(limits=st.sampled_from(LIMITS), inodes=st.booleans())
    def boot(self, limits: Limits, inodes: bool) -> None:
        self.play = Play(limits, inodes=inodes)
        for pid, id in zip(PIDS, IDS, strict=False):
            process = self.play.world.processes.start(pid)
            self._ask(None, process, "register", Item(id, {"capabilities": {"read"}}), owner=process, bound=pid == 2)
        self.play.commit()

    def teardown(self) -> None:
        if hasattr(self, "play"):
            self.play.close()

    # Requests

    @rule(caller=living, item=maybe_flawed, owner=anybody, late=st.sampled_from((False, False, False, True)), go=fates)
    def register(self, caller: Owner, item: Item, owner: Owner, late: bool, go: Fate | None) -> None:
        self._ask(go, caller, "register", item, owner=owner, late=late)

    @rule(caller=living, id=known_ids, given=fields, go=fates)
    def register_what_may_be_held(self, caller: Owner, id: Id, given: Fields, go: Fate | None) -> None:
        self._ask(go, caller, "register", Item(id, given), owner=caller)

    @rule(caller=living, id=known_ids, given=fields, go=fates)
    def get_or_register(self, caller: Owner, id: Id, given: Fields, go: Fate | None) -> None:
        self._ask(go, caller, "register", Item(id, given), owner=caller, or_get=True)

    @rule(caller=living, wanted=st.lists(maybe_flawed, min_size=2, max_size=3), bound=st.booleans(), go=fates)
    def register_many(self, caller: Owner, wanted: list[Item], bound: bool, go: Fate | None) -> None:
        self._ask(go, caller, "register", *wanted, owner=caller, bound=bound)

    @rule(caller=living, places=st.lists(st.integers(0, 4), min_size=2, max_size=4), given=fields, go=fates)
    def register_many_new(self, caller: Owner, places: list[int], given: Fields, go: Fate | None) -> None:
        wanted = [Item(("new", "n", str(place)), given) for place in places]
        self._ask(go, caller, "register", *wanted, owner=caller)

    @rule(caller=living, item=items, go=fates)
    def register_a_thread(self, caller: Owner, item: Item, go: Fate | None) -> None:
        self._ask(go, caller, "register", item, owner=caller, bound=True)

    @rule(caller=living, id=known_ids, item=maybe_flawed, condition=conditions, go=fates)
    def update(self, caller: Owner, id: Id, item: Item, condition: Condition, go: Fate | None) -> None:
        target = item if item.flaw == "invalid_process_id" else Item(id, item.fields, item.flaw)
        self._ask(go, caller, "update", target, condition=condition)

    @rule(caller=living, id=known_ids, status=st.sampled_from(("healthy", "degraded", "unhealthy")), go=fates)
    def update_health(self, caller: Owner, id: Id, status: str, go: Fate | None) -> None:
        self._ask(go, caller, "update", Item(id, {"health_status": status}), checked=True)

    @rule(caller=living, id=known_ids, condition=conditions, late=st.booleans(), go=fates)
    def unregister(self, caller: Owner, id: Id, condition: Condition, late: bool, go: Fate | None) -> None:
        self._ask(go, caller, "unregister", Item(id), condition=condition, late=late and condition == "stale")

    @rule(caller=living, id=known_ids, owner=anybody, condition=st.sampled_from(("right", "right", "stale")), go=fates)
    def hand_over(self, caller: Owner, id: Id, owner: Owner, condition: Condition, go: Fate | None) -> None:
        self._ask(go, caller, "hand_over", Item(id), owner=owner, condition=condition)

    @precondition(lambda self: self.play.limits is TIGHT_MEMORY)
    @rule(caller=living, size=st.integers(40_000, 60_000), bound=st.booleans())
    def fill_the_memory(self, caller: Owner, size: int, bound: bool) -> None:
        """Large entries all at once, then smaller ones, until there is no room for the smallest."""
        for place in range(24):
            item = Item(("big", "n", str(place)), {"custom": {"blob": bytes(size)}})
            self._ask(None, caller, "register", item, owner=caller, bound=bound)
        self.play.commit()
        for smaller in (16_000, 4_000, 1_000, 100):
            for place in range(9):
                item = Item(("small", "n", f"{smaller} {place}"), {"custom": {"blob": bytes(smaller)}})
                self._ask(None, caller, "register", item, owner=caller)
            self.play.commit()

    @precondition(lambda self: len(self.play.model.held) > len(IDS))
    @rule(caller=living)
    def empty_the_registry(self, caller: Owner) -> None:
        """A registry from which all have gone takes on whoever comes, however full it was."""
        for id in sorted(self.play.model.held):
            self._ask(None, caller, "unregister", Item(id))
        self.play.commit()
        self._ask("answered", caller, "register", Item(("a", "n", "x")), owner=caller)
        assert self.play.model.held

    # The machine

    @precondition(lambda self: len(self.play.world.processes.living) > 1)
    @rule(process=dying, hung_up=st.booleans(), go=fates)
    def die(self, process: Owner, hung_up: bool, go: Fate | None) -> None:
        """The kernel tells of a death, and in the same moment the socket of the dead process is closed."""
        if hung_up:
            self.play.end_session(process)
        self.play.world.processes.kill(process)
        if go:
            self.play.commit(go)

    @precondition(lambda self: len(self.play.world.processes.living) > 1)
    @rule(process=dying, caller=living, go=fates)
    def die_and_lose_the_ids(self, process: Owner, caller: Owner, go: Fate | None) -> None:
        """Another takes what a process held, before the kernel's word of its death has come."""
        self.play.world.processes.kill(process)
        for held in self.play.model.owned(process)[-1:]:
            self._ask(None, caller, "register", Item(held.id), owner=caller)
        if go:
            self.play.commit(go, notice=False)

    @precondition(lambda self: len(self.play.world.processes.living) - len(self.play.world.processes.fuses) > 1)
    @rule(process=dying, caller=living, questions=st.integers(0, 3), item=items)
    def die_within_a_batch(self, process: Owner, caller: Owner, questions: int, item: Item) -> None:
        """What a process asked while it lived is decided in one batch with what is asked about it when it is dead."""
        self._ask(None, process, "register", item, owner=process)
        for held in self.play.model.owned(process):
            self._ask(None, process, "update", Item(held.id))
            self._ask(None, caller, "unregister", Item(held.id))
        self._ask(None, caller, "register", Item(item.id), owner=caller)
        self.play.world.processes.fuses[process] = questions
        self.play.commit()

    @precondition(lambda self: len(self.play.world.processes.living) < len(PIDS))
    @rule(pid=st.sampled_from(PIDS))
    def start_a_process(self, pid: int) -> None:
        taken = {process.pid for process in self.play.world.processes.living}
        self.play.world.processes.start(pid if pid not in taken else min(set(PIDS) - taken))

    @rule(process=dying, go=fates)
    def end_session(self, process: Owner, go: Fate | None) -> None:
        self.play.end_session(process)
        if go:
            self.play.commit(go)

    @rule(fate=st.sampled_from(FATES), notice=st.booleans())
    def commit(self, fate: Fate, notice: bool) -> None:
        self.play.commit(fate, notice=notice)

    @rule(caller=living, process=dying, ends=st.booleans(), fate=st.sampled_from(("no_room", "no_room_at_all")))
    def find_no_room(self, caller: Owner, process: Owner, ends: bool, fate: Fate) -> None:
        """The memory is full, whatever was estimated; the batch asks for room and gives some back."""
        if ends:
            self.play.end_session(process)
        for held in self.play.model.owned(process)[-1:]:
            self._ask(None, caller, "unregister", Item(held.id))
        self._ask(fate, caller, "register", Item(("new", "n", "no room")), owner=caller)

    @rule(trouble=st.sampled_from((None, "sweeping", "before_commit", "after_commit")))
    def restart(self, trouble: str | None) -> None:
        self.play.restart(trouble=trouble)

    @rule(caller=living, owner=living, given=fields)
    def ask_what_the_engine_cannot_digest(self, caller: Owner, owner: Owner, given: Fields) -> None:
        """A defect of the engine costs the request that met it, and no other of its batch."""
        self._ask(None, caller, "register", Item(("new", "n", "indigestible"), given), owner=owner)
        self.play.commit_with_a_defect()

    @rule(caller=living)
    def restart_and_wait_for_nobody(self, caller: Owner) -> None:
        """Replies that a registrar found in the tables are kept for those who come back within a minute."""
        self.play.restart()
        self.play.tick(61.0)
        self._ask("answered", caller, "register", Item(("new", "n", "later")), owner=caller)

    @rule(killed_at=st.sampled_from(("", "", "before_switch", "after_switch")))
    def move_to_fresh_tables(self, killed_at: str) -> None:
        self.play.move(killed_at)

    @rule()
    def read_replies(self) -> None:
        self.play.read_replies()

    @rule(seconds=st.sampled_from((0.001, 1.0, 20.0, 61.0)))
    def tick(self, seconds: float) -> None:
        self.play.tick(seconds)

    @rule(seconds=st.sampled_from((-86_400.0, -1.0, 0.5, 86_400.0)))
    def set_the_wall_clock(self, seconds: float) -> None:
        self.play.world.clock.set_wall(seconds)

    # How a request is made

    def _ask(
        self,
        go: Fate | None,
        caller: Owner,
        kind: Literal["register", "update", "unregister", "hand_over"],
        *wanted: Item,
        condition: Condition = "none",
        late: bool = False,
        **rest: Any,
    ) -> None:
        session = self.play.session_of(caller)
        self.play.ask(
            Ask(
                kind,
                session,
                self.play.next_number(session),
                self.play.world.clock.nanoseconds + (-SECOND if late else 10 * SECOND),
                tuple(Item(item.id, self._at_this_time(item.fields), item.flaw) for item in wanted),
                if_incarnation=self._incarnation(wanted[0].id, condition),
                **rest,
            )
        )
        if go:
            self.play.commit(go)

    def _at_this_time(self, given: Fields) -> Fields:
        now: datetime = self.play.world.clock.utc
        return {
            name: now - timedelta(seconds=value) if name in TIMES and isinstance(value, int) else value
            for name, value in given.items()
        }

    def _incarnation(self, id: Id, condition: Condition) -> int | None:
        if condition == "none":
            return None
        held = self.play.model.held.get(id)
        right = held.incarnation if held else 0
        earlier = [number for number in self.play.model.incarnations if number != right]
        return right if condition == "right" or not earlier else earlier[-1]


class SmallRegistryMachine(RegistryMachine):
    """As above, in a registry for a few members who have little to say of themselves."""

    @initialize(limits=st.just(SMALL), inodes=st.booleans())
    def boot(self, limits: Limits, inodes: bool) -> None:
        super().boot(limits, inodes)


class FullRegistryMachine(RegistryMachine):
    """As above, in a registry that has hardly any memory and starts with most of it taken."""

    @initialize(limits=st.just(TIGHT_MEMORY), inodes=st.booleans(), size=st.integers(40_000, 60_000))
    def boot(self, limits: Limits, inodes: bool, size: int = 50_000) -> None:
        super().boot(limits, inodes)
        self.fill_the_memory(self.play.world.processes.living[0], size, bound=False)
