"""``adsum ls``: who is alive."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ..model import Entry
from ..registry import Registry
from . import render
from .options import ANYWHERE, HealthWord, Json, Place, TypeWord, UsageError, complete_capability


def ls(
    *,
    capability: Annotated[
        tuple[str, ...],
        Parameter(
            name=("--capability", "-c"),
            negative=(),
            help="Only who can do this; given again, who can do all of them.",
            show_default=False,
            completer=complete_capability,
        ),
    ] = (),
    type: Annotated[TypeWord | None, Parameter(help="Only who plays this part.")] = None,
    health: Annotated[HealthWord | None, Parameter(help="Only who says so of itself.")] = None,
    limit: Annotated[int | None, Parameter(help="At most so many, the first by id.")] = None,
    json: Json = False,
    place: Place = ANYWHERE,
) -> int:
    """List the living members of a namespace.

    ```console
    $ adsum ls --capability planning --health healthy
    ```

    All conditions hold together, and no dead process is ever listed. With --node, only members on that node are. IDs
    are shown as the other commands take them.
    """
    if limit is not None and limit < 0:
        raise UsageError(f"--limit {limit}: give a number from 0 up")
    with place.open() as registry:
        found = registry.find(
            capability=set(capability) or None, type=type, health_status=health, node=place.node, limit=limit
        )
        if json:
            render.print_json([render.entry_document(entry) for entry in found])
        elif found:
            columns = ("id", "type", "health", "pid", "up", "capabilities", "endpoint")
            render.print_table(columns, [_row(entry, place, registry) for entry in found])
    return 0


def _row(entry: Entry, place: Place, registry: Registry) -> list[str]:
    metadata = entry.metadata
    return [
        place.show_id(entry.process_id, registry),
        metadata.type,
        metadata.health_status,
        str(entry.pid),
        render.ago(entry.registered_at),
        ",".join(sorted(metadata.capabilities)),
        metadata.endpoint or "",
    ]
