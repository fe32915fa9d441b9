"""Telemetry events: a handler is called with the name, the numbers and the words of each event it is attached to.

    def handler(event, measurements, attributes):
        print(event, measurements, attributes)

    adsum.telemetry.attach(handler, events=["adsum.register", "adsum.died"])

An **event** is one of `EVENTS`. Its **measurements** are numbers: `count`, and `duration` and `detection` in seconds.
Its **attributes** are words of small sets (`registry`, the folder; `call`; `reason`; `result`; `type`;
`health_status`), and the `namespace`, of which there are as many as the programs use.

=====================  ============================  ============================================================
event                  measurements                  attributes
=====================  ============================  ============================================================
adsum.register         duration, count of entries    registry, namespace, call, result: registered or held
adsum.lookup           duration                      registry, namespace, call, result: found or absent
adsum.find             duration, count of matches    registry, namespace, call
adsum.update           duration                      registry, namespace, call
adsum.unregister       duration, count: 0 or 1       registry, namespace, call
adsum.claim            duration, the wait included   registry, namespace, call
adsum.release          duration, count: 0 or 1       registry, namespace, call
adsum.rejected         duration                      registry, namespace, call, reason: the error's
adsum.timeout          duration                      registry, namespace, call, reason: timeout
adsum.died             count: 1, detection           registry, namespace, type, health_status
adsum.registrar.       duration                      registry
started
adsum.registrar.       count: 1                      registry
stopped
=====================  ============================  ============================================================

The last three concern every registry that this process has open: `died` is emitted for every entry whose owner died,
whichever process that was. All others concern this process's own calls: `call` is ``register``, ``get_or_register``,
``stand_by`` (without a duration, which would be how long another member lives), ``lookup``, ``find``, ``count``,
``update``, ``update_health``, ``hand_over``, ``unregister``, ``claim``, ``release``, ``heartbeat`` (only where it
fails), ``wait_for`` or ``wait_until_gone`` (likewise). The `namespace` of a search in all of them is ``*``.

A handler is called once the call is over: in the caller's thread for a `Registry`; in a thread of adsum's for an
awaited call, for `register_nowait` and `stand_by`, and for the last three events. So it must be quick, and must not
wait for a registry. Calls that a handler itself makes emit no events.

A handler that raises an `Exception` is detached, and the logger ``adsum.telemetry`` logs the error; the call is not
affected. Ctrl-C and `SystemExit` in a handler go on to the caller, as anywhere else.

Without a handler each call only checks that there is none (`adsum._instrument`). Attaching and detaching change no
class and no method.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from . import _calls, _following
from ._dispatch import EVENTS, Attributes, Handler, Measurements, add, remove
from ._logs import MemberFilter, log

if TYPE_CHECKING:
    from . import otel as otel
    from . import prometheus as prometheus

__all__ = ["EVENTS", "Attributes", "Handler", "Measurements", "MemberFilter", "attach", "detach", "log"]

# Quiet unless the program sets up logging; without this, Python prints warnings and errors.
logging.getLogger("adsum").addHandler(logging.NullHandler())


def attach(handler: Handler, events: Iterable[str] | None = None) -> None:
    """Call ``handler(event, measurements, attributes)`` for each of `events` from now on; None for all `EVENTS`.

    Attaching a handler again changes its events. For ``adsum.died`` and ``adsum.registrar.*`` a thread follows each
    open registry, as a watch does, and like a watch it keeps a registrar running. After a `fork` the handlers of the
    child get the events of its own calls; to follow registries, the child has to attach a handler or open a registry.

    Errors: `ValueError` for an unknown event; `TypeError` where the handler cannot be called, or `events`
    are no names.

    >>> def handler(event, measurements, attributes):
    ...     print(event, attributes["call"], attributes["result"])
    >>> adsum.telemetry.attach(handler, ["adsum.register", "adsum.lookup"])
    >>> entry = registry.lookup("planner-1")
    adsum.lookup lookup absent
    """
    if not callable(handler):
        raise TypeError(f"cannot attach {handler!r}: give a callable that takes (event, measurements, attributes)")
    if events is not None and not isinstance(events, Iterable):
        raise TypeError(f"events={events!r}: give names of events, such as ['adsum.register'], or None for all")
    named = list(EVENTS if events is None else [events] if isinstance(events, str) else events)
    if unknown := {str(event) for event in named if event not in EVENTS}:
        raise ValueError(f"no such event: {', '.join(sorted(unknown))}; the events are {', '.join(EVENTS)}")
    add(handler, frozenset(named))


def detach(handler: Handler) -> None:
    """Stop calling `handler`. Nothing happens if it is not attached. Another thread may still be inside it.

    >>> adsum.telemetry.attach(print, "adsum.lookup")
    >>> adsum.telemetry.detach(print)
    >>> registry.lookup("planner-1")
    """
    remove(handler)


# A type checker that saw it would accept every name. It has the imports above.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in ("otel", "prometheus"):
            return importlib.import_module(f".{name}", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_calls.be_ready()
_following.be_ready()
