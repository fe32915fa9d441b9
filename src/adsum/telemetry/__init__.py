"""What happens in a registry, told to whoever attaches: plain callables that get an event's name, numbers and words.

    def handler(event, measurements, attributes):
        print(event, measurements, attributes)

    adsum.telemetry.attach(handler, events=["adsum.register", "adsum.died"])

An **event** is one of `EVENTS`. Its **measurements** are numbers: `count`, and `duration` and `detection` in seconds.
Its **attributes** are words of which there are few (`registry`, the folder; `call`; `reason`; `result`; `type`;
`health_status`), and the `namespace`, of which there are as many as the programs use.

=====================  ============================  ============================================================
event                  measurements                  attributes
=====================  ============================  ============================================================
adsum.register         duration, count of entries    registry, namespace, call, result: registered or held
adsum.lookup           duration                      registry, namespace, call, result: found or absent
adsum.find             duration, count of matches    registry, namespace, call
adsum.update           duration                      registry, namespace, call
adsum.unregister       duration, count: 0 or 1       registry, namespace, call
adsum.rejected         duration                      registry, namespace, call, reason: the error's
adsum.timeout          duration                      registry, namespace, call, reason: timeout
adsum.died             count: 1, detection           registry, namespace, type, health_status
adsum.registrar.       duration                      registry
started
adsum.registrar.       count: 1                      registry
stopped
=====================  ============================  ============================================================

All but the last three are of this process's own calls: `call` is ``register``, ``get_or_register``, ``stand_by`` (which
has no duration, for that is another's life), ``lookup``, ``find``, ``count``, ``update``, ``update_health``,
``hand_over``, ``unregister``, ``heartbeat`` (only where it fails) or ``wait_for`` (likewise). `died` is of every entry
of every registry that this process has open, whoever's it was.

A handler is called once the call is over, in the thread that finds it over: the caller's own for a `Registry`, one of
adsum's for what was awaited or sent without waiting, and for the last three. So it must be quick, and must not wait for
a registry. What a handler itself does with a registry is not told. A handler that raises an `Exception` is detached,
and logged as an error of the logger ``adsum.telemetry``; the call that it was told of is not affected. Ctrl-C and
`SystemExit` in a handler go on to the caller, like anywhere else.

With nobody attached the calls are the same functions as if this module had never been imported: attaching puts others
in their place, and detaching puts them back. A method that was taken from a registry before, as in
``look = registry.lookup``, stays what it was.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable
from typing import Any

from . import _calls, _following
from ._dispatch import EVENTS, Attributes, Handler, Measurements, add, remove
from ._logs import log

__all__ = ["EVENTS", "Attributes", "Handler", "Measurements", "attach", "detach", "log"]

# Quiet unless somebody sets up logging; without this, Python prints what is a warning or worse.
logging.getLogger("adsum").addHandler(logging.NullHandler())


def attach(handler: Handler, events: Iterable[str] | None = None) -> None:
    """Call ``handler(event, measurements, attributes)`` for each of `events` from now on; None for all `EVENTS`.

    Attaching a handler again changes its events. For ``adsum.died`` and ``adsum.registrar.*`` a thread follows each
    registry that is open, as a watch does, and like a watch it keeps a registrar running. After a `fork` the child's
    handlers are told of its own calls; to follow registries the child has to attach, or to open one, itself.

    Errors: `ValueError` for an event that there is not; `TypeError` for what cannot be called.
    """
    if not callable(handler):
        raise TypeError(f"cannot attach {handler!r}: give a callable that takes (event, measurements, attributes)")
    wanted = frozenset(EVENTS if events is None else [events] if isinstance(events, str) else events)
    if unknown := wanted - set(EVENTS):
        raise ValueError(f"no such event: {', '.join(sorted(map(str, unknown)))}; the events are {', '.join(EVENTS)}")
    add(handler, wanted)


def detach(handler: Handler) -> None:
    """Stop calling `handler`; nothing happens if it is not attached. Another thread may just be calling it."""
    remove(handler)


def __getattr__(name: str) -> Any:
    if name in ("otel", "prometheus"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_calls.be_ready()
_following.be_ready()
