"""``adsum wait``: waits until members are registered."""

from __future__ import annotations

import math
from typing import Annotated

from cyclopts import Parameter

from ... import Registry
from ...errors import Timeout
from ...model import ProcessId
from ...views.documents import GoneDocument, entry_document
from ..absence import absence, ending, similar_hint
from ..filters import NO_FILTER, Filter
from ..notes import note
from ..options import DEFAULT_REGISTRY, FLAG, WHOLE, Json, OptionalId, RegistryOptions, UsageError, check_timeout
from ..output import render
from .ls import print_entries
from .show import print_entry

TOO_LATE = 1


def wait(
    id: OptionalId = None,
    /,
    *,
    filter: Filter = NO_FILTER,
    count: Annotated[
        int | None, WHOLE, Parameter(help="Wait for this many members that match the conditions. Default: 1.")
    ] = None,
    gone: Annotated[
        bool, FLAG, Parameter(help="Wait until the registration that holds ID now has ended, in whatever way.")
    ] = False,
    timeout: Annotated[
        float | None, Parameter(metavar="SECONDS", help="Wait at most this long. Default: no limit.")
    ] = None,
    json: Json = False,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """Wait until a member is registered, or a team is complete, or a member is gone.

    ```console
    $ adsum wait planner --timeout 10
    $ adsum wait planner --health healthy
    $ adsum wait --capability thinking --count 3
    $ adsum wait --gone planner
    ```

    With an ID and conditions, it waits until that member meets them. Prints the entry of an ID as show does, and those
    of a team as ls does. With --gone, a later holder of ID does not prolong the wait, and an ID that is not registered
    is gone already; a death is noticed also while the registrar is stopped or cannot be started. A member whose host
    cannot be reached is not gone. Exit code 1 where --timeout passes first.
    """
    _check(id, filter, count, options, gone=gone)
    patience = None if timeout is None or math.isinf(timeout) else check_timeout(timeout)
    with options.open() as registry:
        try:
            if gone:
                _wait_until_gone(registry, options.parse_id(id or "", registry), patience, json=json)
            else:
                _wait(registry, options, id, filter, 1 if count is None else count, patience, json=json)
        except Timeout as error:
            if patience is None:
                raise
            if id is not None:
                about = similar_hint(options.parse_id(id, registry), registry, options)
            else:
                about = ending(absence(registry.folder, options))
            note(str(error).replace("timeout=", "--timeout") + about, options)
            return TOO_LATE
    return 0


def _check(id: str | None, filter: Filter, count: int | None, options: RegistryOptions, *, gone: bool) -> None:
    if gone and (id is None or filter or count is not None):
        raise UsageError("--gone: give an ID, and neither conditions nor --count")
    if id is None and count is None and not filter and options.node is None:
        raise UsageError("give an ID, conditions or --count; adsum wait --count 1 waits for any member")
    if id is not None and count is not None:
        raise UsageError("give an ID or --count, not both: an ID has one holder")
    if count is not None and count < 0:
        raise UsageError(f"--count {count}: give a number, 0 or more")


def _wait(
    registry: Registry,
    options: RegistryOptions,
    id: str | None,
    filter: Filter,
    count: int,
    timeout: float | None,
    *,
    json: bool,
) -> None:
    where, conditions = filter.expression, filter.conditions(options)
    if id is not None:
        print_entry(registry.wait_for(options.parse_id(id, registry), timeout, where=where, **conditions), json=json)
    else:
        found = registry.wait_for(count=count, timeout=timeout, where=where, **conditions)
        print_entries(found, options, registry, json=json)


def _wait_until_gone(registry: Registry, process_id: ProcessId, timeout: float | None, *, json: bool) -> None:
    last = registry.wait_until_gone(process_id, timeout)
    if json:
        render.print_json(GoneDocument(str(process_id), None if last is None else entry_document(last)))
    else:
        said = "is not registered" if last is None else "is gone"
        print(f"{render.printable_id(str(process_id))} {said}")
