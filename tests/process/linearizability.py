"""Is there an order of these operations that explains every answer?

A history is a list of operations with the times at which each was called and answered, from as many processes as one
likes: the monotonic clock is the same for all. It is linearizable if every operation can be given one instant between
its call and its answer such that, done one after the other at these instants, they would have given just these answers
(Herlihy and Wing, 1990). Keys do not interact, so each key's history is checked by itself (locality, ibid.).

The search is Wing and Gong's (1993), with Lowe's memory of the places already visited (2017): take any operation that
was called before all others that are still open were answered, try it, go on, come back if there is no way on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias

# What stands under one key: the incarnation and the revision of its entry, or nothing.
State: TypeAlias = "tuple[int, int] | None"
NEVER = 1 << 62


class Operation(NamedTuple):
    """One call, as its caller saw it. `answered` is `NEVER` where the caller never knew the answer. `argument` is the
    incarnation that `unregister` was to hit, or the process that was to be registered."""

    key: str
    kind: str
    argument: int | None
    answer: tuple[object, ...]
    called: int
    answered: int


class Refused(Exception):
    """The operation could not have given this answer in this state."""


def after(state: State, operation: Operation) -> State:
    """The state that the operation leaves, or `Refused`."""
    return _STEPS[operation.kind](state, operation)


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
    """A process was killed: whoever held the key with one of these incarnations does no more."""
    return None if state is not None and state[0] in operation.answer else state


_STEPS: dict[str, Callable[[State, Operation], State]] = {
    "register": _register,
    "get_or_register": _get_or_register,
    "update": _update,
    "unregister": _unregister,
    "lookup": _lookup,
    "died": _died,
}


def by_key(history: Iterable[Operation]) -> dict[str, list[Operation]]:
    """One history for each key."""
    keys: dict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        keys[operation.key].append(operation)
    return dict(keys)


def explain(history: Sequence[Operation], start: State = None) -> list[Operation] | None:
    """An order that explains a history of one key, or None where there is none."""
    operations = sorted(history, key=lambda operation: operation.called)
    order: list[int] = []
    states = [start]
    done = 0
    visited = {(0, start)}
    tries = [_candidates(operations, done)]
    while len(order) < len(operations):
        step = _next(operations, tries[-1], states[-1], done, visited)
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
    operations: Sequence[Operation], candidates: list[int], state: State, done: int, visited: set[tuple[int, State]]
) -> tuple[int, State] | None:
    """The next candidate that is possible here and leads where nobody has been."""
    while candidates:
        index = candidates.pop()
        try:
            reached = after(state, operations[index])
        except Refused:
            continue
        place = (done | 1 << index, reached)
        if place not in visited:
            visited.add(place)
            return index, reached
    return None


def _candidates(operations: Sequence[Operation], done: int) -> list[int]:
    """The operations that may come first among those that are left: called before any of these was answered."""
    found: list[int] = []
    first_answer = NEVER
    # The lowest zero bit: everything before it is done.
    index = (~done & (done + 1)).bit_length() - 1
    while index < len(operations) and operations[index].called <= first_answer:
        if not done >> index & 1:
            found.append(index)
            first_answer = min(first_answer, operations[index].answered)
        index += 1
    # The one that was answered first is tried first.
    return sorted(found, key=lambda candidate: -operations[candidate].answered)


def check(history: Iterable[Operation]) -> None:
    """`AssertionError`, with the shortest part of the history that cannot be explained, if there is one."""
    for key, operations in by_key(history).items():
        if explain(operations) is None:
            ordered = sorted(operations, key=lambda operation: operation.answered)
            least, most = 0, len(ordered)
            while most - least > 1:
                middle = (least + most) // 2
                if explain(_up_to(ordered, middle)) is None:
                    most = middle
                else:
                    least = middle
            told = "\n".join(map(str, ordered[max(0, most - 12) : most]))
            raise AssertionError(f"no order explains the answers for {key}; the last one below cannot be:\n{told}")


def _up_to(ordered: Sequence[Operation], number: int) -> list[Operation]:
    """The history as it stood when `number` operations were answered: the others were called, and not answered yet.

    Left out, an operation that was under way could not explain what others saw; so those whose answer tells what they
    did stay, with an answer at any later time.
    """
    now = ordered[number - 1].answered
    under_way = [operation._replace(answered=NEVER) for operation in ordered[number:] if operation.called < now]
    return [*ordered[:number], *under_way]
