"""The examples in docstrings as programs: `>>>` lines, typed at the prompt of ``python -m asyncio``."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import inspect
import io
import os
import subprocess
import threading
import time
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

import adsum
import adsum.asgi
import adsum.cards
import adsum.telemetry.otel
import adsum.telemetry.prometheus
import adsum.web
from adsum._os.forking import ForkAware

from .page import is_like

_PARSER = doctest.DocTestParser()
_FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

CLASSES = (
    adsum.Registry,
    adsum.Registration,
    adsum.Registrations,
    adsum.Watch,
    adsum.LiveEntries,
    adsum.AsyncRegistry,
    adsum.AsyncRegistration,
    adsum.AsyncRegistrations,
    adsum.AsyncWatch,
    adsum.AsyncLiveEntries,
)
RECORDS = (
    adsum.CleanupLatency,
    adsum.Departure,
    adsum.Entry,
    adsum.Event,
    adsum.HealthSource,
    adsum.HealthStatus,
    adsum.Kind,
    adsum.Limits,
    adsum.Metadata,
    adsum.ProcessId,
    adsum.ProcessType,
    adsum.Revision,
    adsum.Stats,
)
FUNCTIONS = (
    adsum.open,
    adsum.open_async,
    adsum.cards.agent_card,
    adsum.cards.catalog,
    adsum.cards.identifier,
    adsum.cards.manifest,
    adsum.cards.process_id,
    adsum.cards.respond,
    adsum.cards.server_card,
    adsum.cards.Site,
    adsum.telemetry.attach,
    adsum.telemetry.detach,
    adsum.telemetry.log,
    adsum.telemetry.MemberFilter,
    adsum.telemetry.otel.instance_id,
    adsum.telemetry.otel.resource,
    adsum.asgi.bound_endpoint,
    adsum.asgi.lifespan,
    adsum.telemetry.otel.instrument,
    adsum.telemetry.prometheus.Collector,
    adsum.web.app,
)


class Documented(NamedTuple):
    """A public object, its name, and its own docstring as ``help()`` shows it."""

    name: str
    text: str

    @property
    def is_async(self) -> bool:
        """Whether its example begins with an `AsyncRegistry`."""
        return any(word in self.name for word in ("Async", "open_async", "asgi.lifespan"))


def documented() -> Iterator[Documented]:
    """Everything public that has to have an example: the package, functions, records, classes with what they define."""
    yield Documented("adsum", adsum.__doc__ or "")
    for function in FUNCTIONS:
        yield Documented(f"{function.__module__}.{function.__qualname__}", function.__doc__ or "")
    for kind in (*CLASSES, *RECORDS):
        yield Documented(kind.__name__, vars(kind).get("__doc__") or "")
        for name, value in _public(kind):
            yield Documented(f"{kind.__name__}.{name}", inspect.getdoc(value) or "")


def _public(kind: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties of a class, as far as adsum defines them; inherited ones in one class only."""
    seen = set(vars(ForkAware))
    for owner in kind.__mro__:
        first = next((one for one in (*CLASSES, *RECORDS) if issubclass(one, owner)), None)
        for name, value in vars(owner).items():
            is_call = isinstance(value, types.FunctionType | property)
            is_own = owner.__module__.startswith("adsum") and first is kind
            if is_call and is_own and name not in seen and not name.startswith("_"):
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
        real = (
            printed.getvalue() if error is None else f"{type(error).__module__}.{type(error).__qualname__}: {error}\n"
        )
        wanted = example.want if shown is None else shown
        assert is_like(wanted, real), f"{example.source}prints\n{real}instead of\n{wanted}"


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


def names_for(one: Documented) -> dict[str, Any]:
    """The names that an example may use without an import: the package, some of the standard library, `registry`."""
    registry = adsum.open_async() if one.is_async else adsum.open()
    return {
        "adsum": adsum,
        "asyncio": asyncio,
        "os": os,
        "registry": registry,
        "subprocess": subprocess,
        "threading": threading,
        "time": time,
    }
