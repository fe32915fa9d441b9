"""``adsum unregister``: take an entry out."""

from __future__ import annotations

from ...errors import NotRegistered
from ..options import DEFAULT_REGISTRY, PATIENCE_SECONDS, Id, Json, RegistryOptions, Timeout, check_timeout
from ..output import render


def unregister(
    id: Id, /, *, timeout: Timeout = PATIENCE_SECONDS, json: Json = False, options: RegistryOptions = DEFAULT_REGISTRY
) -> int:
    """Remove an entry, whoever owns it.

    ```console
    $ adsum unregister planner
    ```

    Exit code 1 where nothing stood. The process itself is left alone. Entries of dead processes go by themselves.
    """
    with options.open() as registry:
        process_id = options.parse_id(id, registry)
        removed = registry.unregister(process_id, timeout=check_timeout(timeout))
        if json:
            render.print_json({"id": str(process_id), "unregistered": removed})
            return 0 if removed else 1
        if not removed:
            raise NotRegistered(f"nothing stands under {process_id}")
        print(f"{render.printable_id(str(process_id))} is unregistered")
    return 0
