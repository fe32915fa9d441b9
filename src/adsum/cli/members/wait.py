"""``adsum wait``: waits until members are registered."""

from __future__ import annotations

import math
import sys
from typing import Annotated

from cyclopts import Parameter

from ... import Registry
from ...errors import Timeout
from ..absence import hint
from ..filters import NO_FILTER, Filter
from ..options import DEFAULT_REGISTRY, WHOLE, Json, OptionalId, RegistryOptions, UsageError, check_timeout
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
    timeout: Annotated[
        float | None, Parameter(metavar="SECONDS", help="Wait at most this long. Default: no limit.")
    ] = None,
    json: Json = False,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """Wait until a member is registered, or a team is complete.

    ```console
    $ adsum wait planner --timeout 10
    $ adsum wait --capability thinking --count 3
    ```

    Prints the entry of an ID as show does, and those of a team as ls does. Exit code 1 where --timeout passes first.
    """
    _check(id, filter, count, options)
    patience = None if timeout is None or math.isinf(timeout) else check_timeout(timeout)
    with options.open() as registry:
        try:
            _wait(registry, options, id, filter, 1 if count is None else count, patience, json=json)
        except Timeout as error:
            if patience is None:
                raise
            about = "" if id is None else hint(options.parse_id(id, registry), registry, options)
            print(f"adsum: {error}".replace("timeout=", "--timeout") + about, file=sys.stderr)
            return TOO_LATE
    return 0


def _check(id: str | None, filter: Filter, count: int | None, options: RegistryOptions) -> None:
    if id is None and count is None and not filter and options.node is None:
        raise UsageError("give an ID, conditions or --count; adsum wait --count 1 waits for any member")
    if id is not None and (filter or count is not None):
        raise UsageError("give an ID or conditions, not both")
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
    if id is not None:
        print_entry(registry.wait_for(options.parse_id(id, registry), timeout), json=json)
    else:
        found = registry.wait_for(count=count, timeout=timeout, **filter.conditions(options))
        print_entries(found, options, registry, json=json)
