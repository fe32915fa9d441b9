"""Async functions that are members while they run: the twin of `adsum._member_functions`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from .._member_functions import MemberId, check_function, id_of, log_remaining
from .._reads import AnyId
from ..errors import AdsumError, Stale
from .registration import AsyncRegistration

P = ParamSpec("P")
R = TypeVar("R")


def async_member_function(
    function: Callable[P, Awaitable[R]], id: MemberId, register: Callable[[AnyId], Awaitable[AsyncRegistration]]
) -> Callable[P, Coroutine[Any, Any, R]]:
    """The function, registered under `id` while a call of it runs. Errors: `TypeError`."""
    check_function(function)
    if not inspect.iscoroutinefunction(function):
        raise TypeError(
            f"{function!r} is no async function, and could not await its registration: write `async def`, or use the "
            "registry of adsum.open"
        )

    @functools.wraps(function)
    async def run(*arguments: P.args, **named: P.kwargs) -> R:
        registration = await register(id_of(id, *arguments, **named))
        try:
            return await function(*arguments, **named)
        finally:
            await _unregister(registration)

    return run


async def _unregister(registration: AsyncRegistration) -> None:
    try:
        await registration.unregister()
    except Stale:
        # Another registration holds the id by now.
        return
    except AdsumError as error:
        log_remaining(registration.entry.id, error)
