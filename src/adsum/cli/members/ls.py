"""``adsum ls``: lists the living members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from ... import Registry
from ...model import Entry
from ...views import words
from ...views.documents import entry_document
from ...views.order import by_id, sorted_names
from .. import NOT_FOUND
from ..absence import check_registry
from ..filters import NO_FILTER, Filter
from ..options import DEFAULT_REGISTRY, WHOLE, Json, RegistryOptions, Unreachable, UsageError
from ..output import render

# Left out on a narrow terminal, the first one first. The id and the health stay. `adsum top` does the same.
_OPTIONAL_COLUMNS = (
    *("description", "version", "protocols", "type", "endpoint"),
    *("doing", "capabilities", "up", "pid"),
)
# These columns, the last ones, are there where a member states something in them.
_WHERE_STATED = ("host", "reach", "version", "protocols", "doing", "description")
# These are there where a member of another host is listed.
_HOST_COLUMNS = ("host", "reach")
_MAX_DESCRIPTION = 60


def ls(
    *,
    filter: Filter = NO_FILTER,
    sort: Annotated[
        tuple[str, ...],
        Parameter(
            negative=(),
            metavar="NAME",
            show_default=False,
            allow_leading_hyphen=True,
            help="Sort by this number in the resources, the smallest first; by -NAME the largest first. Members "
            "without the number come last. Repeat the option to order equal ones.",
        ),
    ] = (),
    limit: Annotated[int | None, WHOLE, Parameter(help="List at most this many, the first of the order.")] = None,
    unreachable: Unreachable = False,
    json: Json = False,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """List the living members of a namespace.

    ```console
    $ adsum ls --capability planning --health healthy
    $ adsum ls --where 'tokens>=1000 model=x'
    $ adsum ls --sort load --limit 3
    $ adsum ls --text report
    ```

    A member is listed if all conditions hold; a dead process is never listed. With --node, only members on that node
    are listed. IDs have the form that the other commands take, with control characters escaped and backslashes doubled;
    --json prints the ids unchanged. The health column shows the status, the time since it was set or confirmed by a
    heartbeat, and its source unless that is the member itself: another process, or the registrar because a heartbeat is
    late. Versions, protocols and what the members are doing are the last columns, each where a member states it; on a
    terminal so are the beginnings of descriptions. A narrow terminal gets fewer columns. Exit code 1
    where there is no registry.

    In a cluster, members of all hosts are listed. Where there is one of another host, two columns are the host, and
    how far away it is: here, remote or unreachable.
    """
    if limit is not None and limit < 0:
        raise UsageError(f"--limit {limit}: give a number, 0 or more")
    if "" in (nameless := [name.removeprefix("-") for name in sort]):
        raise UsageError(f"--sort {sort[nameless.index('')]!r}: give the name of a number in the resources, or -NAME")
    with options.open() as registry:
        exists = check_registry(registry, options)
        where, conditions = filter.expression, filter.conditions(options)
        conditions["unreachable"] = unreachable
        found = registry.find(where=where, order_by=(*sort, _rank), limit=limit, **conditions)
        print_entries(found, options, registry, json=json)
    return 0 if exists else NOT_FOUND


def _rank(entry: Entry) -> object:
    return by_id(entry.process_id)


def print_entries(entries: Sequence[Entry], options: RegistryOptions, registry: Registry, *, json: bool) -> None:
    """Print one line for each entry; nothing where there is none."""
    if json:
        render.print_json([entry_document(entry) for entry in entries])
    elif entries:
        # In a pipe every column holds one word, so that awk(1) and similar tools can split the line.
        health = ("health",) if render.is_terminal() else ("health", "checked", "source")
        columns = ("id", "type", *health, "pid", "up", "capabilities", "endpoint")
        rows = [_row(entry, options, registry) for entry in entries]
        stated = [_stated(entry) for entry in entries]
        more = [name for name in _WHERE_STATED if any(cells[name] for cells in stated)]
        if not any(entry.host for entry in entries):
            more = [name for name in more if name not in _HOST_COLUMNS]
        rows = [[*row, *(cells[name] for name in more)] for row, cells in zip(rows, stated, strict=True)]
        render.print_table((*columns, *more), rows, optional=_OPTIONAL_COLUMNS)


def _row(entry: Entry, options: RegistryOptions, registry: Registry) -> list[str]:
    metadata = entry.metadata
    checked = words.ago(metadata.last_health_check)
    spread = [metadata.health_status, checked, "" if words.is_as_registered(entry) else entry.health_source]
    return [
        render.printable_id(options.show_id(entry.process_id, registry)),
        metadata.type,
        *([words.health(entry)] if render.is_terminal() else spread),
        str(entry.pid),
        words.ago(entry.registered_at),
        _listed(metadata.capabilities),
        metadata.endpoint or "",
    ]


def _stated(entry: Entry) -> dict[str, str]:
    """The cells of the columns that are there where a member states something. Descriptions are for people."""
    metadata = entry.metadata
    return {
        "host": render.printable_id(entry.host),
        "reach": entry.reach,
        "version": metadata.version,
        "protocols": _listed(metadata.protocols),
        "doing": metadata.doing,
        "description": words.first_line(metadata.description, _MAX_DESCRIPTION) if render.is_terminal() else "",
    }


def _listed(names: frozenset[str]) -> str:
    # On a terminal the cell can be folded between words.
    return (", " if render.is_terminal() else ",").join(sorted_names(names))
