"""The base of the state machines: strategies that draw from the present state, and the making of a request."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

from adsum.model import Limits, Owner

from .asks import Ask, Fields, Id, Item, Kind
from .faults import FAULTS, Fault
from .play import Play
from .strategies import IDS, IMPOSSIBLE_OWNERS, LIMITS, PIDS
from .world import SECOND

TIMES = ("created_at", "last_health_check")
Condition = Literal["none", "right", "stale"]


def _living(machine: AskingMachine) -> st.SearchStrategy[Owner]:
    return st.sampled_from(machine.play.world.processes.living)


def _anybody(machine: AskingMachine) -> st.SearchStrategy[Owner]:
    processes = machine.play.world.processes
    return st.sampled_from([*processes.living * 4, *processes.dead[-3:], *IMPOSSIBLE_OWNERS])


def _dying(machine: AskingMachine) -> st.SearchStrategy[Owner]:
    living = machine.play.world.processes.living
    return st.sampled_from([*(owner for owner in living if machine.play.model.owned(owner)), *living])


def _id(machine: AskingMachine) -> st.SearchStrategy[Id]:
    # Entries that promise heartbeats are changed by rules of their own.
    held = sorted(id for id in machine.play.model.holders if id[0] != "beat")
    return st.sampled_from([*held, *held, *IDS])


living = st.runner().flatmap(_living)
dying = st.runner().flatmap(_dying)
anybody = st.runner().flatmap(_anybody)
known_ids = st.runner().flatmap(_id)
conditions: st.SearchStrategy[Condition] = st.sampled_from(("none", "right", "right", "stale"))
# Most requests are committed alone; those with None wait, and make a batch with the next.
faults: st.SearchStrategy[Fault | None] = st.sampled_from((*["answered"] * 6, None, None, None, *FAULTS))


class AskingMachine(RuleBasedStateMachine):
    """A machine with a registry, in which some processes are registered."""

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

    def _ask(
        self,
        go: Fault | None,
        caller: Owner,
        kind: Kind,
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
                caller=caller,
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
        held = self.play.model.holders.get(id)
        right = held.incarnation if held else 0
        earlier = [number for number in self.play.model.incarnations if number != right]
        return right if condition == "right" or not earlier else earlier[-1]
