"""``adsum health``: say how a member is."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from . import render
from .options import ANYWHERE, PATIENCE_SECONDS, HealthWord, Id, Json, Place, Timeout, check_timeout


def health(
    id: Id,
    status: Annotated[HealthWord, Parameter(help="What it is from now on.")],
    /,
    *,
    timeout: Timeout = PATIENCE_SECONDS,
    json: Json = False,
    place: Place = ANYWHERE,
) -> int:
    """Set the health status of a member.

    ```console
    $ adsum health planner degraded
    ```

    The time of its last health check becomes now. Health is what is said of a member; whether it is alive only the
    kernel decides.
    """
    with place.open() as registry:
        entry = registry.update_health(place.parse_id(id, registry), status, timeout=check_timeout(timeout))
        if json:
            render.print_json(render.entry_document(entry))
        else:
            print(f"{render.printable(str(entry.process_id))} is {entry.metadata.health_status}")
    return 0
