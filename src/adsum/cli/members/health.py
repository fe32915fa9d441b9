"""``adsum health``: say how a member is."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ...views.documents import entry_document
from ..advice import in_shell_words
from ..options import DEFAULT_REGISTRY, PATIENCE_SECONDS, HealthWord, Id, Json, RegistryOptions, Timeout, check_timeout
from ..output import render


def health(
    id: Id,
    status: Annotated[HealthWord, Parameter(help="What it is from now on.")],
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

    The time of its last health check becomes now. Health is what is said of a member; whether it is alive only the
    kernel decides.
    """
    with options.open() as registry:
        process_id = options.parse_id(id, registry)
        with in_shell_words(process_id, options, registry):
            entry = registry.update_health(process_id, status, timeout=check_timeout(timeout))
        if json:
            render.print_json(entry_document(entry))
        else:
            print(f"{render.printable_id(str(entry.process_id))} is {entry.metadata.health_status}")
    return 0
