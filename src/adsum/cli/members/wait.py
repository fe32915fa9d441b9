"""``adsum wait``: until somebody is there."""

from __future__ import annotations

import math
import sys
from typing import Annotated

from cyclopts import Parameter

from ... import Registry
from ...errors import Timeout
from ..filters import NO_FILTER, Filter
from ..options import DEFAULT_REGISTRY, WHOLE, Json, OptionalId, RegistryOptions, UsageError, check_timeout
from .ls import print_entries
from .show import print_entry

TOO_LATE = 1


def wait(
    id: OptionalId = None,
    /,
    *,
    wanted: Filter = NO_FILTER,
    count: Annotated[
        int | None, WHOLE, Parameter(help="Until so many are there for whom the conditions hold; 1 unless given.")
    ] = None,
    timeout: Annotated[
        float | None, Parameter(metavar="SECONDS", help="Wait no longer; without it, as long as it takes.")
    ] = None,
    json: Json = False,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """Wait until a member is there, or a team is complete.

    ```console
    $ adsum wait planner --timeout 10
    $ adsum wait --capability thinking --count 3
    ```

    Prints an ID's entry as show does, a team's as ls does. Exit code 1 where --timeout passed first.
    """
    _check(id, wanted, count, options)
    patience = None if timeout is None or math.isinf(timeout) else check_timeout(timeout)
    with options.open() as registry:
        try:
            _wait(registry, options, id, wanted, 1 if count is None else count, patience, json=json)
        except Timeout as error:
            if patience is None:
                raise
            print(f"adsum: {error}".replace("timeout=", "--timeout"), file=sys.stderr)
            return TOO_LATE
    return 0


def _check(id: str | None, wanted: Filter, count: int | None, options: RegistryOptions) -> None:
    if id is None and count is None and not wanted and options.node is None:
        raise UsageError("give an ID, conditions or --count; adsum wait --count 1 waits for anybody")
    if id is not None and (wanted or count is not None):
        raise UsageError("give an ID or conditions, not both")
    if count is not None and count < 0:
        raise UsageError(f"--count {count}: give a number from 0 up")


def _wait(
    registry: Registry,
    options: RegistryOptions,
    id: str | None,
    wanted: Filter,
    count: int,
    timeout: float | None,
    *,
    json: bool,
) -> None:
    if id is not None:
        print_entry(registry.wait_for(options.parse_id(id, registry), timeout), json=json)
    else:
        found = registry.wait_for(count=count, timeout=timeout, **wanted.conditions(options))
        print_entries(found, options, registry, json=json)
