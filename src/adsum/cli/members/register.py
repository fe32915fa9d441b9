"""``adsum register``: registers a process that runs already."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from ...errors import DeadProcess
from ...views.documents import entry_document
from .. import NOT_FOUND
from ..advice import shell_advice
from ..options import (
    DEFAULT_REGISTRY,
    PATIENCE_SECONDS,
    WHOLE,
    Everywhere,
    Id,
    Json,
    RegistryOptions,
    Timeout,
    UsageError,
    check_timeout,
)
from ..output import render
from ..run.ends import OwnedBy, owning_entry
from ..run.metadata import DEFAULT_METADATA, MetadataOptions


def register(
    id: Id,
    pid: Annotated[int, WHOLE, Parameter(help="The process, by its number.")],
    /,
    *,
    metadata: MetadataOptions = DEFAULT_METADATA,
    owned_by: OwnedBy = None,
    everywhere: Everywhere = False,
    timeout: Timeout = PATIENCE_SECONDS,
    json: Json = False,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """Register a process that runs already, for as long as it lives.

    ```console
    $ adsum register database 4242 --type service --endpoint tcp://127.0.0.1:5432
    ```

    The process itself is not affected, and need not know adsum. Its entry ends with it, not with this command; adsum
    unregister removes it before. Exit code 1 where there is no such process, 3 where the ID is held. To register a
    program from its first instruction on, start it with adsum run.
    """
    if pid < 1:
        raise UsageError(f"{pid} is no process: give its number, 1 or more")
    fields = metadata.fields()
    seconds = check_timeout(timeout)
    with options.open() as registry:
        process_id = options.parse_id(id, registry)
        owning = owning_entry(owned_by, registry, options)
        try:
            with shell_advice(process_id, options, registry):
                entry = registry.register(
                    process_id, pid, owned_by=owning, everywhere=everywhere, timeout=seconds, **fields
                ).entry
        except DeadProcess as error:
            print(f"adsum: {error}", file=sys.stderr)
            return NOT_FOUND
        if json:
            render.print_json(entry_document(entry))
        else:
            print(f"{render.printable_id(entry.id)} is process {entry.pid}")
    return 0
