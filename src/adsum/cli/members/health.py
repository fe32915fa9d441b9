"""``adsum health``: sets the health status of a member."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ...views.documents import entry_document
from ..advice import shell_advice
from ..options import DEFAULT_REGISTRY, PATIENCE_SECONDS, HealthWord, Id, Json, RegistryOptions, Timeout, check_timeout
from ..output import render


def health(
    id: Id,
    status: Annotated[HealthWord, Parameter(help="The new health status.")],
    /,
    *,
    timeout: Timeout = PATIENCE_SECONDS,
    json: Json = False,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """Set the health status of a member.

    ```console
    $ adsum health planner degraded
    ```

    The time of its last health check becomes now. The health status is a statement about a member; whether the process
    is alive, adsum asks the kernel.
    """
    with options.open() as registry:
        process_id = options.parse_id(id, registry)
        with shell_advice(process_id, options, registry):
            entry = registry.update_health(process_id, status, timeout=check_timeout(timeout))
        if json:
            render.print_json(entry_document(entry))
        else:
            print(f"{render.printable_id(str(entry.process_id))} is {entry.metadata.health_status}")
    return 0
