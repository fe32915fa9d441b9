"""``adsum watch``: what changes, as it happens."""

from __future__ import annotations

import select
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ... import Registry
from ...errors import Timeout
from ...model import Entry, Event, Kind
from ...views import words
from ...views.description import Departures, EventReport, summary
from ...views.documents import EventKind, snapshot_document
from .. import BROKEN_PIPE
from ..filters import NO_FILTER, Filter
from ..options import DEFAULT_REGISTRY, WHOLE, JsonLines, OptionalId, RegistryOptions, UsageError
from ..output import render

if TYPE_CHECKING:
    from ... import Watch

# Between events it is looked so often whether anybody still reads.
LOOK_SECONDS = 1.0

_KIND_STYLES = {"registered": "green", "died": "bold red", "unregistered": "red", "lagged": "bold yellow"}
_ID_WIDTH = 24


def watch(
    id: OptionalId = None,
    /,
    *,
    wanted: Filter = NO_FILTER,
    since: Annotated[
        int | None, WHOLE, Parameter(metavar="REVISION", help="Begin after this revision, not now: events tell theirs.")
    ] = None,
    snapshot: Annotated[
        bool, Parameter(negative=(), show_default=False, help="Begin with those who are there, and after lagged again.")
    ] = False,
    json: JsonLines = False,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """Follow what changes, a line for each event, until Ctrl-C.

    ```console
    $ adsum watch --capability planning
    ```

    Of one ID, or of all in a namespace for whom the conditions hold: registered, updated, unregistered, died, in the
    order in which it happened, none lost and none twice. Who begins to match through an update is registered, who
    stops is unregistered. Where changes were missed all the same, because the history does not reach back to them,
    one line says lagged: read again who is there. A line ends with the event's revision, which --since takes up again.
    """
    if id is not None and wanted:
        raise UsageError("give an ID or conditions, not both")
    if since is not None and since < 0:
        raise UsageError(f"--since {since}: give a revision, from 0 up")
    with options.open() as registry, _open(registry, id, wanted, since, options) as watching:
        printer = _Printer(registry, options, json=json)
        if snapshot:
            printer.print_snapshot(watching)
        for event in _events(watching):
            printer.print_event(event)
            if snapshot and event.kind is Kind.lagged:
                printer.print_snapshot(watching)
    return BROKEN_PIPE


def _open(registry: Registry, id: str | None, wanted: Filter, since: int | None, options: RegistryOptions) -> Watch:
    if id is not None:
        return registry.watch(options.parse_id(id, registry), since=since)
    return registry.watch(since=since, **wanted.conditions(options))


def _events(watching: Watch) -> Iterator[Event]:
    """Every event, for as long as somebody reads."""
    reader = select.poll()
    reader.register(sys.stdout, 0)
    while not reader.poll(0):
        try:
            yield watching.next(LOOK_SECONDS)
        except Timeout:
            # Nothing happened.
            continue


class _Printer:
    """Prints a line for each event, and hands it on at once."""

    def __init__(self, registry: Registry, options: RegistryOptions, *, json: bool) -> None:
        self._registry = registry
        self._place = options
        self._json = json
        self._departures = Departures(registry)

    def print_event(self, event: Event) -> None:
        report = EventReport(event, self._departures)
        if self._json:
            render.print_line_json(report.document())
            return
        text = f"{report.description()}  [{event.revision}]" if event.entry is not None else report.description()
        self._print(words.clock(report.at), event.kind, event.entry, text)

    def print_snapshot(self, watching: Watch) -> None:
        for entry in watching.snapshot:
            if self._json:
                render.print_line_json(snapshot_document(entry))
            else:
                text = f"{summary(entry)}  [{entry.revision}]"
                self._print(words.clock(entry.last_updated), EventKind.snapshot, entry, text)

    def _print(self, at: str, kind: str, entry: Entry | None, text: str) -> None:
        name = "-" if entry is None else self._place.show_id(entry.process_id, self._registry)
        shown = f"{render.printable_id(name):<{_ID_WIDTH}}"
        line = f"  {shown}  {render.printable(text)}"
        if render.is_terminal():
            _print_coloured(at, kind, line)
        else:
            print(f"{at}  {kind:<12}{line}", flush=True)


def _print_coloured(at: str, kind: str, line: str) -> None:
    from rich.console import Console
    from rich.text import Text

    text = Text.assemble((f"{at}  ", "dim"), (f"{kind:<12}", _KIND_STYLES.get(kind, "")), line)
    Console(highlight=False, soft_wrap=True).print(text)
