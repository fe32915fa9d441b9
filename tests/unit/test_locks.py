"""Locks: no interrupt leaves one acquired."""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import adsum
from adsum._os.locks import holding, locked

from ..process.moments import Moment

SOURCE = Path(adsum.__file__).parent
LOCKS = {"Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore"}


def _trees() -> Iterator[tuple[Path, ast.Module]]:
    for file in sorted(SOURCE.rglob("*.py")):
        yield file.relative_to(SOURCE), ast.parse(file.read_text())


def _is_lock(node: ast.expr) -> bool:
    """Whether it makes a lock of threads. One of asyncio is entered by a coroutine, and a signal that its loop handles
    cancels a task instead of raising inside it."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    return node.func.attr in LOCKS and _name(node.func.value) != "asyncio"


def _name(node: ast.expr) -> str | None:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None


def _named_locks() -> set[str]:
    """The names of variables and attributes that are assigned a lock."""
    names = set()
    for _, tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    pairs = (
                        zip(target.elts, node.value.elts, strict=True)
                        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                        else [(target, node.value)]
                    )
                    names |= {_name(one) for one, value in pairs if _is_lock(value)}
    return {name for name in names if name}


def test_no_lock_is_entered_by_with() -> None:
    """A ``with`` statement may leave a lock acquired (see `_os.locks`)."""
    locks = _named_locks()
    assert {"_lock", "_readers_lock", "_opening", "_changed", "_idle", "_consumer_lock"} <= locks
    entered = [
        f"{file}:{node.lineno}"
        for file, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.With | ast.AsyncWith)
        for item in node.items
        if _name(item.context_expr) in locks or _is_lock(item.context_expr)
    ]
    assert not entered


class Interrupted(BaseException):
    """Raised by the signal handler."""


def _interrupt() -> None:
    raise Interrupted


class Counter:
    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.number = 0

    @locked
    def add(self) -> int:
        self.number += 1
        return self.number


def _is_free(lock: threading.RLock) -> bool:
    """Whether another thread can acquire it."""
    got: list[bool] = []

    def acquire() -> None:
        got.append(lock.acquire(blocking=False))
        if got[0]:
            lock.release()

    thread = threading.Thread(target=acquire)
    thread.start()
    thread.join()
    return got == [True]


@pytest.mark.parametrize("depth", [1, 2])
def test_an_interrupt_at_any_moment_leaves_it_free(depth: int) -> None:
    """At whatever moment of a call that holds a lock an interrupt comes, the lock is as it was before."""
    counter, number = Counter(), 0

    def call() -> None:
        if depth == 1:
            counter.add()
        else:
            holding(counter._lock, counter.add)

    while True:
        moment = Moment(number, _interrupt)
        try:
            with moment:
                call()
        except Interrupted:
            pass
        assert _is_free(counter._lock), moment.place
        if not moment.place:
            break
        number += 1
    assert number > 3


def test_a_held_lock_stays_held() -> None:
    """A call that holds the lock a second time in the same thread leaves the first hold, also where it raises."""
    counter = Counter()

    def fail() -> None:
        raise ZeroDivisionError

    def call() -> None:
        with pytest.raises(ZeroDivisionError):
            holding(counter._lock, fail)
        counter.add()
        assert not _is_free(counter._lock)

    holding(counter._lock, call)
    assert _is_free(counter._lock)
