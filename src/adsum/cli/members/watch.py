"""``adsum watch``: prints the changes of a registry as they happen."""

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
from ..absence import check_registry
from ..filters import NO_FILTER, Filter
from ..options import DEFAULT_REGISTRY, FLAG, WHOLE, JsonLines, OptionalId, RegistryOptions, UsageError
from ..output import render
from ..output.styles import EVENT_STYLES

if TYPE_CHECKING:
    from ... import Watch

# How often it checks, between events, whether the reader of a pipe still exists.
PIPE_CHECK_SECONDS = 1.0

_ID_WIDTH = 24


def watch(
    id: OptionalId = None,
    /,
    *,
    filter: Filter = NO_FILTER,
    since: Annotated[
        int | None,
        WHOLE,
        Parameter(metavar="REVISION", help="Start after this revision instead of now; each line ends with its own."),
    ] = None,
    snapshot: Annotated[bool, FLAG, Parameter(help="First print the present entries; again after lagged.")] = False,
    json: JsonLines = False,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """Print every change as it happens, one line for each, until Ctrl-C.

    ```console
    $ adsum watch --capability planning
    ```

    Follows all members of a namespace that match the conditions, or one ID. The events are registered, updated,
    unregistered and died, in the order of the changes, none lost and none twice. An entry that starts to match through
    an update is registered, one that stops to match is unregistered. Where the history does not reach back to all
    changes, one line says lagged: read the entries again. A line ends with the revision of the change; give it to
    --since to continue there.

    In a cluster one line says that another host is unreachable, that it has returned, or that all of its members are
    here (whole): one for the host, and none for each member.
    """
    if since is not None and since < 0:
        raise UsageError(f"--since {since}: give a revision, 0 or more")
    with options.open() as registry, _open(registry, id, filter, since, options) as watching:
        check_registry(registry, options)
        printer = _Printer(registry, options, json=json)
        if snapshot:
            printer.print_snapshot(watching)
        for event in _events(watching):
            printer.print_event(event)
            if snapshot and event.kind is Kind.lagged:
                printer.print_snapshot(watching)
    return BROKEN_PIPE


def _open(registry: Registry, id: str | None, filter: Filter, since: int | None, options: RegistryOptions) -> Watch:
    process_id = None if id is None else options.parse_id(id, registry)
    return registry.watch(process_id, since=since, where=filter.expression, **filter.conditions(options))


def _events(watching: Watch) -> Iterator[Event]:
    """Every event, until the reader of standard output closes it."""
    reader = select.poll()
    reader.register(sys.stdout, 0)
    while not reader.poll(0):
        try:
            yield watching.next(PIPE_CHECK_SECONDS)
        except Timeout:
            # No event came. Check the reader again.
            continue


class _Printer:
    """Prints a line for each event, and flushes it."""

    def __init__(self, registry: Registry, options: RegistryOptions, *, json: bool) -> None:
        self._registry = registry
        self._options = options
        self._json = json
        self._departures = Departures(registry)

    def print_event(self, event: Event) -> None:
        report = EventReport(event, self._departures)
        if self._json:
            render.print_line_json(report.document())
            return
        text = f"{report.description()}  [{event.revision}]" if event.entry is not None else report.description()
        self._print(words.clock(report.at), event.kind, event.entry, text, event.host)

    def print_snapshot(self, watching: Watch) -> None:
        for entry in watching.snapshot:
            if self._json:
                render.print_line_json(snapshot_document(entry))
            else:
                text = f"{summary(entry)}  [{entry.revision}]"
                self._print(words.clock(entry.last_updated), EventKind.snapshot, entry, text)

    def _print(self, at: str, kind: str, entry: Entry | None, text: str, host: str = "") -> None:
        name = host or "-" if entry is None else self._options.show_id(entry.process_id, self._registry)
        shown = f"{render.printable_id(name):<{_ID_WIDTH}}"
        line = f"  {shown}  {render.printable(text)}"
        if render.is_terminal():
            _print_coloured(at, kind, line)
        else:
            print(f"{at}  {kind:<12}{line}", flush=True)


def _print_coloured(at: str, kind: str, line: str) -> None:
    from rich.console import Console
    from rich.text import Text

    text = Text.assemble((f"{at}  ", "dim"), (f"{kind:<12}", EVENT_STYLES.get(kind, "")), line)
    Console(highlight=False, soft_wrap=True).print(text)
