"""A linearizability checker: is there an order of the operations that explains every answer?

A history is a list of operations from any number of processes, with the times at which each was called and answered;
the monotonic clock is the same for all processes. A history is linearizable if every operation can be assigned one
instant between its call and its answer, such that executing the operations in the order of these instants gives the
same answers (Herlihy and Wing, 1990). Keys do not interact, so each key's history is checked separately (locality,
ibid.).

The search is that of Wing and Gong (1993) with Lowe's memory of visited states (2017). It takes any operation that was
called before all other remaining operations were answered, applies it, continues, and backtracks when no operation is
possible.

A `Model` says what the calls on one key may answer. That of the entries of one registry, `ENTRIES`, is here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeAlias, TypeVar

S = TypeVar("S", bound=Hashable)
# The state of one key in a registry: the incarnation and the revision of its entry, or None.
State: TypeAlias = "tuple[int, int] | None"
NEVER = 1 << 62


class Operation(NamedTuple):
    """One call, as its caller saw it. `answered` is `NEVER` if the caller never received the answer. `argument` is the
    expected incarnation of `unregister`, or the process to register."""

    key: str
    kind: str
    argument: int | None
    answer: tuple[object, ...]
    called: int
    answered: int


class Refused(Exception):
    """The operation cannot have given this answer in this state."""


@dataclass(frozen=True)
class Model(Generic[S]):
    """The state of a key before its history, and for each kind of operation the state after it; that raises
    `Refused`."""

    start: S
    steps: dict[str, Callable[[S, Operation], S]]

    def after(self, state: S, operation: Operation) -> S:
        return self.steps[operation.kind](state, operation)


def _register(state: State, operation: Operation) -> State:
    word, incarnation = operation.answer
    if word == "dead_process":
        return state
    if word == "registered" and state is None:
        return _new(incarnation)
    if word == "already_registered" and state is not None and state[0] == incarnation:
        return state
    raise Refused


def _get_or_register(state: State, operation: Operation) -> State:
    incarnation, created = operation.answer
    if created and state is None:
        return _new(incarnation)
    if not created and state is not None and state[0] == incarnation:
        return state
    raise Refused


def _new(incarnation: object) -> State:
    if not isinstance(incarnation, int):
        raise Refused
    return incarnation, incarnation


def _update(state: State, operation: Operation) -> State:
    word, incarnation, revision = operation.answer
    if word == "not_registered" and state is None:
        return None
    if word == "updated" and state is not None and state[0] == incarnation and isinstance(revision, int):
        if revision <= state[1]:
            raise Refused
        return state[0], revision
    raise Refused


def _unregister(state: State, operation: Operation) -> State:
    (word,) = operation.answer
    wanted = operation.argument
    if word is False and state is None:
        return None
    if word is True and state is not None and wanted in (None, state[0]):
        return None
    if word == "stale" and state is not None and wanted not in (None, state[0]):
        return state
    raise Refused


def _lookup(state: State, operation: Operation) -> State:
    if operation.answer == ((None, None) if state is None else state):
        return state
    raise Refused


def _died(state: State, operation: Operation) -> State:
    """The state after a process was killed: an entry with one of its incarnations is gone."""
    return None if state is not None and state[0] in operation.answer else state


ENTRIES: Model[State] = Model(
    None,
    {
        "register": _register,
        "get_or_register": _get_or_register,
        "update": _update,
        "unregister": _unregister,
        "lookup": _lookup,
        "died": _died,
    },
)


def by_key(history: Iterable[Operation]) -> dict[str, list[Operation]]:
    """The history of each key."""
    keys: dict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        keys[operation.key].append(operation)
    return dict(keys)


def explain(history: Sequence[Operation], model: Model[S]) -> list[Operation] | None:
    """An order that explains a history of one key, or None if there is none. An operation that was never answered is in
    it only where another answer needs it: it may not have happened (Herlihy and Wing, 1990, section 2.2)."""
    operations = sorted(history, key=lambda operation: operation.called)
    order: list[int] = []
    states = [model.start]
    done = 0
    answered = sum(1 << index for index, operation in enumerate(operations) if operation.answered < NEVER)
    visited = {(0, model.start)}
    tries = [_candidates(operations, done)]
    while answered & ~done:
        step = _next(model, operations, tries[-1], states[-1], done, visited)
        if step is not None:
            index, state = step
            done |= 1 << index
            order.append(index)
            states.append(state)
            tries.append(_candidates(operations, done))
        elif order:
            tries.pop()
            states.pop()
            done &= ~(1 << order.pop())
        else:
            return None
    return [operations[index] for index in order]


def _next(
    model: Model[S],
    operations: Sequence[Operation],
    candidates: list[int],
    state: S,
    done: int,
    visited: set[tuple[int, S]],
) -> tuple[int, S] | None:
    """The next candidate that is possible in this state and leads to a state not visited yet."""
    while candidates:
        index = candidates.pop()
        try:
            reached = model.after(state, operations[index])
        except Refused:
            continue
        place = (done | 1 << index, reached)
        if place not in visited:
            visited.add(place)
            return index, reached
    return None


def _candidates(operations: Sequence[Operation], done: int) -> list[int]:
    """The remaining operations that may come first: those called before any remaining one was answered."""
    found: list[int] = []
    first_answer = NEVER
    # The lowest zero bit: all operations before it are done.
    index = (~done & (done + 1)).bit_length() - 1
    while index < len(operations) and operations[index].called <= first_answer:
        if not done >> index & 1:
            found.append(index)
            first_answer = min(first_answer, operations[index].answered)
        index += 1
    # The operation with the earliest answer is tried first.
    return sorted(found, key=lambda candidate: -operations[candidate].answered)


def check(history: Iterable[Operation], model: Model[S]) -> None:
    """Raise `AssertionError`, with the shortest part of the history that cannot be explained, if there is one."""
    for key, operations in by_key(history).items():
        if explain(operations, model) is None:
            ordered = sorted(operations, key=lambda operation: operation.answered)
            least, most = 0, len(ordered)
            while most - least > 1:
                middle = (least + most) // 2
                if explain(_up_to(ordered, middle), model) is None:
                    most = middle
                else:
                    least = middle
            shown = "\n".join(map(str, ordered[max(0, most - 12) : most]))
            raise AssertionError(f"no order explains the answers for {key}; the last one below cannot be:\n{shown}")


def _up_to(ordered: Sequence[Operation], number: int) -> list[Operation]:
    """The history at the time when `number` operations were answered, including those in flight.

    An operation in flight may explain what other operations saw, so it must not be left out. Its answer shows its
    effect, so it is kept with its answer, as one that may happen at any later time, or not at all.
    """
    now = ordered[number - 1].answered
    under_way = [operation._replace(answered=NEVER) for operation in ordered[number:] if operation.called < now]
    return [*ordered[:number], *under_way]
