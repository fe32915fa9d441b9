"""Waiting for a condition with a bound: no test sleeps in the hope that something has happened."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar, overload

from .._store.query import ALL
from ..errors import AdsumError
from ..registry import Registry
from ..views import description, words

T = TypeVar("T")

# Far longer than any step takes, also on a busy machine: only a condition that never comes true fails.
WITHIN_SECONDS = 10.0
EVERY_SECONDS = 0.005
_SHOWN_MEMBERS = 10
_SHOWN_DEPARTURES = 3
_SOURCE_CHARACTERS = 200


class Eventually:
    """The fixture `eventually`. Call it with a condition: a function without arguments.

    An `AssertionError` in the condition counts as not yet, so it may be made of ``assert`` statements; so does a
    `LookupError`: of a member that is not registered yet, or of a departure that is not there yet.

        eventually(lambda: adsum_registry["worker-1"].metadata.health_status == "degraded")

        def settled() -> bool:
            assert adsum_registry.count(capability="counting") == 2
            return True

        eventually(settled, within=30)

    In a coroutine, ``await eventually.awaited(condition)``: the event loop goes on meanwhile.

    >>> worker = adsum_member("worker-1")
    >>> eventually(lambda: adsum_registry["worker-1"].pid == worker.pid)
    True
    """

    def __init__(self, registry: Callable[[], Registry | None]) -> None:
        self._registry = registry

    def __call__(
        self, condition: Callable[[], T], within: float = WITHIN_SECONDS, *, every: float = EVERY_SECONDS
    ) -> T:
        """The first true value of `condition`, which is called again `every` so many seconds. Where none comes `within`
        so many, the test fails with an `AssertionError`, which says what was seen last.

        >>> eventually(lambda: 2 + 2, within=30)
        4
        >>> eventually(lambda: None, within=0)
        Traceback (most recent call last):
        AssertionError: not true within 0 s: ...
        """
        __tracebackhide__ = True
        poll = _Poll(condition, within)
        while True:
            try:
                if value := condition():
                    return value
                poll.saw(value)
            except (AssertionError, LookupError) as error:
                poll.met(error)
            if poll.is_over():
                raise AssertionError(poll.report(self._registry())) from poll.error
            time.sleep(every)

    @overload
    async def awaited(self, condition: Callable[[], Awaitable[T]], within: float = ..., *, every: float = ...) -> T: ...
    @overload
    async def awaited(self, condition: Callable[[], T], within: float = ..., *, every: float = ...) -> T: ...
    async def awaited(
        self, condition: Callable[[], object], within: float = WITHIN_SECONDS, *, every: float = EVERY_SECONDS
    ) -> object:
        """The same in a coroutine of asyncio. The condition may be a coroutine function.

        >>> await eventually.awaited(lambda: 2 + 2, within=30)
        4
        """
        __tracebackhide__ = True
        # A test that comes here has imported it.
        from asyncio import sleep

        poll = _Poll(condition, within)
        while True:
            try:
                value = condition()
                if inspect.isawaitable(value):
                    value = await value
                if value:
                    return value
                poll.saw(value)
            except (AssertionError, LookupError) as error:
                poll.met(error)
            if poll.is_over():
                raise AssertionError(poll.report(self._registry())) from poll.error
            await sleep(every)


class _Poll:
    """What was seen of one condition so far."""

    def __init__(self, condition: Callable[[], object], within: float) -> None:
        self._condition = condition
        self._within = within
        self._until = time.monotonic() + within
        self._calls = 0
        self._last = ""
        self.error: Exception | None = None

    def saw(self, value: object) -> None:
        """The condition returned this value, which is not true."""
        self._calls += 1
        self._last, self.error = f"the last value was {value!r}", None

    def met(self, error: Exception) -> None:
        """The condition raised this error."""
        self._calls += 1
        self._last, self.error = f"the last error was {type(error).__name__}: {error}", error

    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._until

    def report(self, registry: Registry | None) -> str:
        """Why a test fails that waited for the condition."""
        return "\n  ".join(
            (
                f"not true within {self._within:g} s: {_source(self._condition)}",
                f"it was called {self._calls:,} times; {self._last}",
                *_seen_in(registry),
            )
        )


def _source(condition: Callable[[], object]) -> str:
    """The condition as its author knows it: the text of a lambda, the name of a function, and the line."""
    code = getattr(condition, "__code__", None)
    if code is None:
        return repr(condition)
    line = f" ({Path(code.co_filename).name}:{code.co_firstlineno})"
    if condition.__name__ != "<lambda>":
        return condition.__name__ + line
    try:
        text = " ".join(inspect.getsource(condition).split())
    except (OSError, TypeError):
        # Typed at a prompt, or made by `eval`.
        return "a lambda" + line
    return text[:_SOURCE_CHARACTERS] + line


def _seen_in(registry: Registry | None) -> list[str]:
    """The members of the test's registry, and its latest departures."""
    if registry is None:
        return []
    try:
        entries, departures = registry.find(namespace=ALL), registry.departures(_SHOWN_DEPARTURES)
    except (AdsumError, OSError) as error:
        return [f"adsum_registry cannot be read: {error}"]
    lines = [f"members of adsum_registry: {len(entries)}"]
    lines += [f"  {entry.process_id}: {description.summary(entry)}" for entry in entries[:_SHOWN_MEMBERS]]
    if len(entries) > _SHOWN_MEMBERS:
        lines.append(f"  and {len(entries) - _SHOWN_MEMBERS} more")
    for departure in departures:
        exit = "" if departure.exit is None else f", {words.ending(departure.exit)}"
        noticed = "" if departure.time_known else ", noticed"
        lines.append(f"{departure.entry.process_id} {departure.how}{noticed} {words.ago(departure.at)} ago{exit}")
    return lines
