"""``adsum ls``: who is alive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from ... import Registry
from ...model import Entry
from ...views import words
from ...views.documents import entry_document
from ..filters import NO_FILTER, Filter
from ..options import DEFAULT_REGISTRY, WHOLE, Json, RegistryOptions, UsageError
from ..output import render

# Where a terminal is narrow. `adsum top` gives up the same ones; the id and health are the last that stay.
_GIVEN_UP = ("type", "endpoint", "capabilities", "up", "pid")


def ls(
    *,
    wanted: Filter = NO_FILTER,
    limit: Annotated[int | None, WHOLE, Parameter(help="At most so many, the first by id.")] = None,
    json: Json = False,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """List the living members of a namespace.

    ```console
    $ adsum ls --capability planning --health healthy
    ```

    All conditions hold together, and no dead process is ever listed. With --node, only members on that node are. IDs
    are shown as the other commands take them, except that control characters are escaped and backslashes doubled;
    --json has the ids themselves. Health comes with the time since it was said, or confirmed by a sign of life, and
    with who said so, unless it was the member itself: another process, or the registrar, because a sign of life is
    late. A narrow terminal gets fewer columns.
    """
    if limit is not None and limit < 0:
        raise UsageError(f"--limit {limit}: give a number from 0 up")
    with options.open() as registry:
        print_entries(registry.find(limit=limit, **wanted.conditions(options)), options, registry, json=json)
    return 0


def print_entries(entries: Sequence[Entry], options: RegistryOptions, registry: Registry, *, json: bool) -> None:
    """Several entries, a line for each; for nobody there is nothing to print."""
    if json:
        render.print_json([entry_document(entry) for entry in entries])
    elif entries:
        # In a pipe each column holds one word, for awk(1) and its like.
        health = ("health",) if render.is_terminal() else ("health", "checked", "source")
        columns = ("id", "type", *health, "pid", "up", "capabilities", "endpoint")
        render.print_table(columns, [_row(entry, options, registry) for entry in entries], given_up=_GIVEN_UP)


def _row(entry: Entry, options: RegistryOptions, registry: Registry) -> list[str]:
    metadata = entry.metadata
    checked = words.ago(metadata.last_health_check)
    spread = [metadata.health_status, checked, entry.health_source]
    return [
        render.printable_id(options.show_id(entry.process_id, registry)),
        metadata.type,
        *([words.health(entry)] if render.is_terminal() else spread),
        str(entry.pid),
        words.ago(entry.registered_at),
        # Between words a terminal can fold it.
        (", " if render.is_terminal() else ",").join(sorted(metadata.capabilities)),
        metadata.endpoint or "",
    ]
