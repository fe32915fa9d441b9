"""The examples in docstrings as programs: `>>>` lines, typed at the prompt of ``python -m asyncio``."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import enum
import functools
import inspect
import io
import os
import subprocess
import sys
import threading
import time
import traceback
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

import adsum
from adsum._os.forking import ForkAware
from adsum.testing import Eventually, MemberFactory

from . import public
from .page import is_like

_PARSER = doctest.DocTestParser()
_FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


class Documented(NamedTuple):
    """A public object, its name, and its own docstring as ``help()`` shows it."""

    name: str
    text: str
    is_async: bool = False
    """Whether its example begins with an `AsyncRegistry`."""


def documented() -> list[Documented]:
    """Everything public that has to have an example: the package, functions, classes and their public methods and
    properties, of all documented modules.

    An error is shown by the call that raises it. So is a record of another module than `adsum` by the call that gives
    it, where it has only fields.
    """
    found: dict[int, Documented] = {}
    kinds: list[tuple[str, type]] = []
    for name, value in _public_objects():
        if isinstance(value, type):
            kinds.append((name, value))
        elif isinstance(value, types.FunctionType):
            found.setdefault(id(value), _of(name, value))
        elif type(value).__module__.startswith("adsum."):
            found.setdefault(id(value), Documented(name, inspect.getdoc(type(value)) or ""))
    # What both registries inherit is shown once, for `Registry`.
    kinds.sort(key=lambda pair: "Async" in pair[0])
    for name, kind in kinds:
        if id(kind) not in found:
            found[id(kind)] = _of(name, kind, vars(kind).get("__doc__") or "")
            for member, value in _members(kind, [other for _, other in kinds]):
                found.setdefault(id(value), _of(f"{name}.{member}", value))
    return [Documented("adsum", adsum.__doc__ or ""), *found.values()]


def _public_objects() -> Iterator[tuple[str, Any]]:
    for module in map(public.load, public.modules()):
        for name in public.names_of(module):
            value = getattr(module, name)
            if not _is_shown_elsewhere(name, value):
                yield f"{module.__name__}.{name}".removeprefix("adsum."), value


def _is_shown_elsewhere(name: str, value: object) -> bool:
    if not isinstance(value, type):
        return False
    is_record = issubclass(value, (msgspec.Struct, tuple, enum.Enum)) or typing.is_typeddict(value)
    has_calls = any(True for _ in _members(value, [value]))
    return issubclass(value, BaseException) or (is_record and name not in adsum.__all__ and not has_calls)


def _of(name: str, value: Any, text: str | None = None) -> Documented:
    """An object with its example, which begins with an `AsyncRegistry` where it belongs to asyncio."""
    text = inspect.getdoc(value) or "" if text is None else text
    return Documented(name, text, any(word in name for word in ("Async", "open_async", "asgi.lifespan")))


def _members(kind: type, kinds: Sequence[type]) -> Iterator[tuple[str, Any]]:
    """The public methods and properties of a class, as far as adsum defines them; inherited ones in one class only."""
    seen = set(vars(ForkAware))
    for owner in kind.__mro__:
        first = next((one for one in kinds if owner in one.__mro__), None)
        for name, value in vars(owner).items():
            is_call = isinstance(value, types.FunctionType | property | functools.cached_property)
            is_own = owner.__module__.startswith("adsum") and first is kind
            is_public = not name.startswith("_") or (name == "__call__" and value.__doc__)
            if is_call and is_own and name not in seen and is_public:
                yield name, value
            seen.add(name)


def run(one: Documented, names: dict[str, Any], runner: asyncio.Runner) -> None:
    """Run the examples of a docstring. `AssertionError` where one prints something else than it shows."""
    for example in _PARSER.get_examples(inspect.cleandoc(one.text)):
        printed = io.StringIO()
        error = None
        with contextlib.redirect_stdout(printed):
            try:
                _execute(example.source, names, runner, in_loop=one.is_async)
            except Exception as raised:  # noqa: BLE001 - the docstring may show it
                error = raised
        shown = example.exc_msg
        if error is not None and shown is None:
            raise error
        real = printed.getvalue() if error is None else _last_line(error)
        wanted = example.want if shown is None else shown
        assert is_like(wanted, real), f"{example.source}prints\n{real}instead of\n{wanted}"


def _last_line(error: Exception) -> str:
    """The error as a traceback ends with it."""
    return "".join(traceback.format_exception_only(error))


def _execute(source: str, names: dict[str, Any], runner: asyncio.Runner, *, in_loop: bool) -> None:
    code = compile(source, "<example>", "single", _FLAGS)
    if in_loop or code.co_flags & inspect.CO_COROUTINE:
        runner.run(_executed(code, names))
    else:
        exec(code, names)


async def _executed(code: types.CodeType, names: dict[str, Any]) -> None:
    """As at the prompt of ``python -m asyncio``, where a line without ``await`` runs in the loop too."""
    result = eval(code, names)
    if code.co_flags & inspect.CO_COROUTINE:
        await result


def names_for(one: Documented, registry: adsum.Registry | adsum.AsyncRegistry) -> dict[str, Any]:
    """The names that an example may use without an import: the package, some of the standard library, `registry`, and
    the fixtures of a test."""
    names = {
        "adsum": adsum,
        "asyncio": asyncio,
        "eventually": Eventually(lambda: None),
        "os": os,
        "registry": registry,
        "subprocess": subprocess,
        "sys": sys,
        "threading": threading,
        "time": time,
    }
    if isinstance(registry, adsum.Registry):
        names |= {"adsum_registry": registry, "adsum_member": MemberFactory(registry)}
    return names
