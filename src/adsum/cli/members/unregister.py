"""``adsum unregister``: removes an entry."""

from __future__ import annotations

from ...errors import NotRegistered
from ...views.documents import UnregistrationDocument
from ..absence import hint
from ..options import DEFAULT_REGISTRY, PATIENCE_SECONDS, Id, Json, RegistryOptions, Timeout, check_timeout
from ..output import render


def unregister(
    id: Id, /, *, timeout: Timeout = PATIENCE_SECONDS, json: Json = False, options: RegistryOptions = DEFAULT_REGISTRY
) -> int:
    """Remove an entry, no matter which process owns it.

    ```console
    $ adsum unregister planner
    ```

    Exit code 1 where nothing is registered under ID. The process itself is not affected. Entries of dead processes need
    no command: the registrar removes them.
    """
    with options.open() as registry:
        process_id = options.parse_id(id, registry)
        removed = registry.unregister(process_id, timeout=check_timeout(timeout))
        if json:
            render.print_json(UnregistrationDocument(str(process_id), removed))
            return 0 if removed else 1
        if not removed:
            raise NotRegistered(
                f"nothing is registered under {process_id}; adsum ls lists the members"
                + hint(process_id, registry, options)
            )
        print(f"{render.printable_id(str(process_id))} is unregistered")
    return 0
