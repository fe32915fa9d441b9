"""``adsum departures``: lists how the last entries ended."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ... import Registry
from ...model import Departure
from ...views import words
from ...views.description import lived, removal
from ...views.documents import departure_document
from .. import NOT_FOUND
from ..absence import check_registry
from ..options import DEFAULT_REGISTRY, WHOLE, Json, RegistryOptions, UsageError
from ..output import render

_COLUMNS = ("id", "how", "at", "pid", "lived", "detection", "exit", "host")


def departures(
    *,
    limit: Annotated[int | None, WHOLE, Parameter(help="List at most this many, the newest ones.")] = None,
    json: Json = False,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """List how the last entries ended, newest first.

    ```console
    $ adsum departures --limit 10
    ```

    An entry ends when its process died, when it was unregistered, when it was handed over, when its process was
    found dead as another one took the ID (replaced), or when the process of the member that owned it died (owner_died).
    LIVED is how long the entry lived. Where a process died at an unknown time, because no registrar ran or it was found
    dead later, LIVED is an upper bound (<=3s), AT is when the death was noticed, and is marked with "noticed" on a
    terminal and with <= in a pipe, and DETECTION has no figure.
    EXIT is how the process ended: an exit code or a signal, where that is known. The registry keeps the last 1,000, of
    all namespaces; --namespace and --node list only theirs. Exit code 1 where there is no registry.

    In a cluster HOST is the other host of a member. Then an entry also ends when its host left in order (left), when
    its host was unreachable for long and was forgotten (unreachable_forgotten: nothing says that the process died), and
    when another host got the name that the member held in the whole cluster (name_lost).
    """
    if limit is not None and limit < 0:
        raise UsageError(f"--limit {limit}: give a number, 0 or more")
    with options.open() as registry:
        exists = check_registry(registry, options)
        found = [one for one in registry.departures() if _is_asked_for(one, options)][:limit]
        if json:
            render.print_json([departure_document(one) for one in found])
        elif found:
            rows = [_row(one, options, registry) for one in found]
            shown = len(_COLUMNS) if any(one.entry.host for one in found) else -1
            render.print_table(_COLUMNS[:shown], [row[:shown] for row in rows], optional=("detection", "lived", "pid"))
    return 0 if exists else NOT_FOUND


def _is_asked_for(departure: Departure, options: RegistryOptions) -> bool:
    namespace, node, _ = departure.entry.process_id
    return options.namespace in (None, namespace) and options.node in (None, node)


def _row(departure: Departure, options: RegistryOptions, registry: Registry) -> list[str]:
    entry = departure.entry
    detection = f"{departure.detection * 1000:.2f}ms" if departure.detection else ""
    return [
        render.printable_id(options.show_id(entry.process_id, registry)),
        departure.how,
        _at(departure),
        str(entry.pid),
        lived(departure),
        removal(departure) if render.is_terminal() and departure.how == "died" else detection,
        _exit(departure.exit),
        render.printable_id(entry.host),
    ]


def _at(departure: Departure) -> str:
    """The time of the removal, marked where the process died at some time before. One word in a pipe, so that awk(1)
    and similar tools can split the line."""
    if render.is_terminal():
        return f"{'' if departure.time_known else 'noticed '}{words.second(departure.at)}"
    return f"{'' if departure.time_known else '<='}{words.instant(departure.at)}"


def _exit(exit: int | None) -> str:
    """An exit code, or the name of a signal. In a pipe both are numbers."""
    if exit is None:
        return ""
    return words.signal_name(-exit) if exit < 0 and render.is_terminal() else str(exit)
