"""Functions that are members while they run: the decorator that `Registry.member` gives."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

from ._reads import AnyId
from .errors import AdsumError, Stale
from .registration import Registration

P = ParamSpec("P")
R = TypeVar("R")

# An id, or a function of the arguments of a call that returns one.
MemberId: TypeAlias = AnyId | Callable[..., AnyId]
Register: TypeAlias = Callable[[AnyId], Registration]

log = logging.getLogger("adsum")


def member_function(function: Callable[P, R], id: MemberId, register: Register) -> Callable[P, R]:
    """The function, registered under `id` while a call of it runs. Errors: `TypeError`."""
    import inspect  # Most programs have no such functions, and it takes a twentieth of the import of adsum.

    check_function(function)
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def run_async(*arguments: P.args, **named: P.kwargs) -> Any:
            registration = register(id_of(id, *arguments, **named))
            try:
                return await function(*arguments, **named)
            finally:
                _unregister(registration)

        return cast("Callable[P, R]", run_async)

    @functools.wraps(function)
    def run(*arguments: P.args, **named: P.kwargs) -> R:
        registration = register(id_of(id, *arguments, **named))
        try:
            return function(*arguments, **named)
        finally:
            _unregister(registration)

    return run


def check_function(function: object) -> None:
    """Errors: `TypeError` for what is no function, and for a generator: its call ends before its work begins."""
    import inspect

    if not callable(function):
        raise TypeError(f"{function!r}: @registry.member(id) decorates a function")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{function!r} is a generator, whose call ends before its work begins: register inside it, with "
            "registry.register(id) as a block"
        )


def check_member_id(id: object) -> None:
    """Errors: `TypeError` where the decorator is used without an id, as in ``@registry.member``."""
    import inspect

    if inspect.isfunction(id) and id.__name__ != "<lambda>" and not inspect.signature(id).parameters:
        raise TypeError(f"write @registry.member('id') above {id.__qualname__}: a member needs an id")


def id_of(id: MemberId, *arguments: object, **named: object) -> AnyId:
    """The id for one call."""
    return id(*arguments, **named) if callable(id) else id


def _unregister(registration: Registration) -> None:
    try:
        registration.unregister()
    except Stale:
        # Another registration holds the id by now.
        return
    except AdsumError as error:
        log_remaining(registration.entry.id, error)


def log_remaining(id: str, error: AdsumError) -> None:
    """Note that an entry could not be removed. The function's own result or error matters more."""
    log.error("%s stays registered until its process ends, although its function has returned: %s", id, error)
