"""The state machine: clients, deaths, crashes and clocks in any order that Hypothesis draws."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from adsum.model import Owner

from .asking import AskingMachine, Condition, anybody, conditions, dying, faults, known_ids, living
from .asks import Fields, Id, Item
from .faults import FAULTS, Fault
from .strategies import ADDITIONS, IDS, MERGES, PIDS, TIGHT_MEMORY, fields, items, maybe_flawed

HEALTH = ("healthy", "degraded", "unhealthy")


class RegistryMachine(AskingMachine):
    """Every rule does one thing to the registry; every commit and every restart is followed by all checks."""

    # Requests

    @rule(caller=living, item=maybe_flawed, owner=anybody, late=st.sampled_from((False, False, False, True)), go=faults)
    def register(self, caller: Owner, item: Item, owner: Owner, late: bool, go: Fault | None) -> None:
        self._ask(go, caller, "register", item, owner=owner, late=late)

    @rule(caller=living, id=known_ids, given=fields, go=faults)
    def register_what_may_be_held(self, caller: Owner, id: Id, given: Fields, go: Fault | None) -> None:
        self._ask(go, caller, "register", Item(id, given), owner=caller)

    @rule(caller=living, id=known_ids, given=fields, go=faults)
    def get_or_register(self, caller: Owner, id: Id, given: Fields, go: Fault | None) -> None:
        self._ask(go, caller, "register", Item(id, given), owner=caller, or_get=True)

    @rule(caller=living, wanted=st.lists(maybe_flawed, min_size=2, max_size=3), bound=st.booleans(), go=faults)
    def register_many(self, caller: Owner, wanted: list[Item], bound: bool, go: Fault | None) -> None:
        self._ask(go, caller, "register", *wanted, owner=caller, bound=bound)

    @rule(caller=living, places=st.lists(st.integers(0, 4), min_size=2, max_size=4), given=fields, go=faults)
    def register_many_new(self, caller: Owner, places: list[int], given: Fields, go: Fault | None) -> None:
        wanted = [Item(("new", "n", str(place)), given) for place in places]
        self._ask(go, caller, "register", *wanted, owner=caller)

    @rule(caller=living, item=items, go=faults)
    def register_a_thread(self, caller: Owner, item: Item, go: Fault | None) -> None:
        self._ask(go, caller, "register", item, owner=caller, bound=True)

    @rule(caller=living, id=known_ids, item=maybe_flawed, condition=conditions, go=faults)
    def update(self, caller: Owner, id: Id, item: Item, condition: Condition, go: Fault | None) -> None:
        target = item if item.flaw == "invalid_process_id" else Item(id, item.fields, item.flaw)
        self._ask(go, caller, "update", target, condition=condition)

    @rule(caller=living, id=known_ids, status=st.sampled_from(HEALTH), go=faults)
    def update_health(self, caller: Owner, id: Id, status: str, go: Fault | None) -> None:
        self._ask(go, caller, "update", Item(id, {"health_status": status}), checked=True)

    @rule(
        caller=living,
        id=known_ids,
        item=maybe_flawed,
        merged=st.sampled_from(MERGES),
        added=st.sampled_from(ADDITIONS),
        condition=conditions,
        swap=st.sampled_from((None, None, "right", "stale")),
        go=faults,
    )
    def amend(
        self,
        caller: Owner,
        id: Id,
        item: Item,
        merged: Fields,
        added: dict[str, int | float],
        condition: Condition,
        swap: str | None,
        go: Fault | None,
    ) -> None:
        """Fields, a merge and additions in one step, perhaps on condition of the revision."""
        target = item if item.flaw == "invalid_process_id" else Item(id, item.fields, item.flaw)
        held = self.play.model.holders.get(target.id)
        revision = None if swap is None or held is None else held.revision - (swap == "stale")
        self._ask(go, caller, "amend", target, condition=condition, merged=merged, added=added, if_revision=revision)

    @rule(caller=living, wanted=st.lists(maybe_flawed, min_size=1, max_size=3), go=faults)
    def update_many(self, caller: Owner, wanted: list[Item], go: Fault | None) -> None:
        self._ask(go, caller, "update_many", *wanted)

    @rule(caller=living, wanted=st.lists(maybe_flawed, min_size=1, max_size=3), condition=conditions, go=faults)
    def unregister_many(self, caller: Owner, wanted: list[Item], condition: Condition, go: Fault | None) -> None:
        self._ask(go, caller, "unregister_many", *wanted, condition=condition)

    @rule(caller=living, id=known_ids, condition=conditions, late=st.booleans(), go=faults)
    def unregister(self, caller: Owner, id: Id, condition: Condition, late: bool, go: Fault | None) -> None:
        self._ask(go, caller, "unregister", Item(id), condition=condition, late=late and condition == "stale")

    @rule(caller=living, id=known_ids, owner=anybody, condition=st.sampled_from(("right", "right", "stale")), go=faults)
    def hand_over(self, caller: Owner, id: Id, owner: Owner, condition: Condition, go: Fault | None) -> None:
        self._ask(go, caller, "hand_over", Item(id), owner=owner, condition=condition)

    # Standbys and heartbeats

    @rule(caller=living, id=known_ids, item=maybe_flawed, go=faults)
    def stand_by(self, caller: Owner, id: Id, item: Item, go: Fault | None) -> None:
        target = item if item.flaw == "invalid_process_id" else Item(id, item.fields, item.flaw)
        self._ask(go, caller, "stand_by", target, owner=caller)

    @rule(id=known_ids, go=faults)
    def all_stand_by(self, id: Id, go: Fault | None) -> None:
        """Every process stands by for an id."""
        for process in self.play.world.processes.living:
            self._ask(None, process, "stand_by", Item(id), owner=process)
        if go:
            self.play.commit(go)

    @precondition(lambda self: next(iter(self.play.model.queues), None) is not None)
    @rule(place=st.integers(0, 20), other=living, wrong=st.booleans(), go=faults)
    def cancel(self, place: int, other: Owner, wrong: bool, go: Fault | None) -> None:
        """A client cancels its standby; another client that names its number cancels none."""
        waiting = list(self.play.model.queues)
        one = waiting[place % len(waiting)]
        caller = other if wrong else one.owner
        if self.play.world.processes.is_alive(caller):
            self._ask(go, caller, "cancel", Item(one.items[0].id), stand_by=one.number)

    @rule(caller=living, every=st.sampled_from((0.5, 10.0)), status=st.sampled_from(HEALTH), go=faults)
    def promise(self, caller: Owner, every: float, status: str, go: Fault | None) -> None:
        """A process promises heartbeats, and sends the first within the same batch."""
        item = Item(("beat", "n", str(caller.pid)), {"heartbeat": every, "health_status": status})
        self._ask(None, caller, "register", Item(("beat", "n", "before")), owner=caller)
        self._ask(None, caller, "register", item, owner=caller)
        self._ask(go, caller, "heartbeat", Item(item.id), owner=caller)

    @rule(caller=living, pid=st.sampled_from(PIDS), owner=anybody, condition=conditions, go=faults)
    def beat(self, caller: Owner, pid: int, owner: Owner, condition: Condition, go: Fault | None) -> None:
        self._ask(go, caller, "heartbeat", Item(("beat", "n", str(pid))), owner=owner, condition=condition)

    @rule(caller=living)
    def leave_heartbeat(self, caller: Owner) -> None:
        self.play.leave_heartbeat(caller, ("beat", "n", str(caller.pid)))

    @rule(caller=living, id=known_ids, go=faults)
    def beat_without_a_promise(self, caller: Owner, id: Id, go: Fault | None) -> None:
        self._ask(go, caller, "heartbeat", Item(id), owner=caller)

    @rule(caller=living, pid=st.sampled_from(PIDS), every=st.sampled_from((None, 0.5, 10.0)), go=faults)
    def promise_otherwise(self, caller: Owner, pid: int, every: float | None, go: Fault | None) -> None:
        self._ask(go, caller, "update", Item(("beat", "n", str(pid)), {"heartbeat": every}))

    @rule(caller=living, pid=st.sampled_from(PIDS), status=st.sampled_from(HEALTH), go=faults)
    def report(self, caller: Owner, pid: int, status: str, go: Fault | None) -> None:
        """Of itself, or of another."""
        self._ask(go, caller, "update", Item(("beat", "n", str(pid)), {"health_status": status}), checked=True)

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

    @precondition(lambda self: len(self.play.model.holders) > len(IDS))
    @rule(caller=living)
    def empty_the_registry(self, caller: Owner) -> None:
        """An emptied registry registers new members, however full it was."""
        for id in sorted(self.play.model.holders):
            self._ask(None, caller, "unregister", Item(id))
        self.play.commit()
        self._ask("answered", caller, "register", Item(("a", "n", "x")), owner=caller)
        assert self.play.model.holders

    # The machine

    @precondition(lambda self: len(self.play.world.processes.living) > 1)
    @rule(process=dying, hung_up=st.booleans(), go=faults)
    def die(self, process: Owner, hung_up: bool, go: Fault | None) -> None:
        """The kernel reports a death, and in the same moment the socket of the dead process is closed."""
        if hung_up:
            self.play.end_session(process)
        self.play.world.processes.kill(process)
        if go:
            self.play.commit(go)

    @precondition(lambda self: len(self.play.world.processes.living) > 1)
    @rule(process=dying, caller=living, go=faults)
    def die_and_lose_the_ids(self, process: Owner, caller: Owner, go: Fault | None) -> None:
        """Another process registers an id before the death of its holder is reported."""
        self.play.world.processes.kill(process)
        for held in self.play.model.owned(process)[-1:]:
            self._ask(None, caller, "register", Item(held.id), owner=caller)
        if go:
            self.play.commit(go, notice=False)

    @precondition(lambda self: len(self.play.world.processes.living) - len(self.play.world.processes.fuses) > 1)
    @rule(process=dying, caller=living, questions=st.integers(0, 3), item=items, fault=st.sampled_from(FAULTS))
    def die_within_a_batch(self, process: Owner, caller: Owner, questions: int, item: Item, fault: Fault) -> None:
        """Requests that a process sent before its death are decided in one batch with requests about it sent after; or
        the registrar is killed in between."""
        self._ask(None, process, "register", item, owner=process)
        for held in self.play.model.owned(process):
            self._ask(None, process, "update", Item(held.id))
            self._ask(None, caller, "unregister", Item(held.id))
        self._ask(None, caller, "register", Item(item.id), owner=caller)
        self.play.world.processes.fuses[process] = questions
        self.play.commit(fault)

    @rule(caller=living, owner=anybody, code=st.sampled_from((0, 3, -9)), go=faults)
    def report_an_exit(self, caller: Owner, owner: Owner, code: int, go: Fault | None) -> None:
        """Of a process that may be alive, be dead for long, or never have been."""
        self._ask(go, caller, "exit_of", Item(("a", "n", "x")), owner=owner, code=code)

    @precondition(lambda self: len(self.play.world.processes.living) > 1)
    @rule(process=dying, caller=living, notice=st.booleans(), again=st.booleans(), go=faults)
    def die_and_be_reaped(self, process: Owner, caller: Owner, notice: bool, again: bool, go: Fault | None) -> None:
        """The parent reports the exit in the batch of the death, or before the death is reported; perhaps twice."""
        self.play.world.processes.kill(process)
        for code in (3, 4) if again else (3,):
            if self.play.world.processes.is_alive(caller):
                self._ask(None, caller, "exit_of", Item(("a", "n", "x")), owner=process, code=code)
        if go:
            self.play.commit(go, notice=notice)

    @precondition(lambda self: len(self.play.world.processes.living) < len(PIDS))
    @rule(pid=st.sampled_from(PIDS))
    def start_a_process(self, pid: int) -> None:
        taken = {process.pid for process in self.play.world.processes.living}
        self.play.world.processes.start(pid if pid not in taken else min(set(PIDS) - taken))

    @rule(process=dying, go=faults)
    def end_session(self, process: Owner, go: Fault | None) -> None:
        self.play.end_session(process)
        if go:
            self.play.commit(go)

    @rule(fault=st.sampled_from(FAULTS), notice=st.booleans())
    def commit(self, fault: Fault, notice: bool) -> None:
        self.play.commit(fault, notice=notice)

    @rule(
        caller=living,
        process=dying,
        ends=st.booleans(),
        line=st.booleans(),
        fault=st.sampled_from(("no_room", "no_room_at_all")),
    )
    def find_no_room(self, caller: Owner, process: Owner, ends: bool, line: bool, fault: Fault) -> None:
        """The memory is full, whatever was estimated; the batch asks for room and gives some back, perhaps to
        standbys."""
        for held in self.play.model.owned(process)[-1:] if line else ():
            self.all_stand_by(held.id, "answered")
        if ends:
            self.play.end_session(process)
        for held in self.play.model.owned(process)[-1:]:
            self._ask(None, caller, "unregister", Item(held.id))
        self._ask(fault, caller, "register", Item(("new", "n", "no room")), owner=caller)

    @rule(killed_at=st.sampled_from((None, "sweeping", "before_commit", "after_commit")))
    def restart(self, killed_at: str | None) -> None:
        self.play.restart(killed_at=killed_at)

    @rule(caller=living, owner=living, given=fields)
    def meet_a_defect(self, caller: Owner, owner: Owner, given: Fields) -> None:
        """A defect of the engine costs the request that met it, and no other of its batch."""
        self._ask(None, caller, "register", Item(("new", "n", "defective"), given), owner=owner)
        self.play.commit_with_a_defect()

    @rule(caller=living)
    def restart_and_drop_old_receipts(self, caller: Owner) -> None:
        """Replies that a registrar found in the tables are kept for a minute."""
        self.play.restart()
        self.play.tick(61.0)
        self._ask("answered", caller, "register", Item(("new", "n", "later")), owner=caller)

    @rule(killed_at=st.sampled_from(("", "", "before_switch", "after_switch")))
    def move_to_fresh_tables(self, killed_at: str) -> None:
        self.play.move(killed_at)

    @rule()
    def read_replies(self) -> None:
        self.play.read_replies()

    @rule(seconds=st.sampled_from((0.001, 0.4, 1.0, 20.0, 61.0)))
    def tick(self, seconds: float) -> None:
        self.play.tick(seconds)

    @rule(seconds=st.sampled_from((-86_400.0, -1.0, 0.5, 86_400.0)))
    def set_the_wall_clock(self, seconds: float) -> None:
        self.play.world.clock.set_wall(seconds)
