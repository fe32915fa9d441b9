"""`open_async`: from a name or path to an `AsyncRegistry`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .._client.keeper import OnLost
from ..model import Limits
from .registry import AsyncRegistry


def open_async(
    name: str = "default",
    *,
    path: str | os.PathLike[str] | None = None,
    namespace: str = "default",
    node: str | None = None,
    timeout: float | None = None,
    limits: Limits | None = None,
    registrar_command: Sequence[str] | None = None,
    on_lost: OnLost | None = None,
    cluster: str | None = None,
) -> AsyncRegistry:
    """Open a registry for asyncio. There is no server to start: an absent registry reads as empty, and the first write
    makes it. Opening does not wait, so this is a plain call; an ``await`` in front of it changes nothing.

    The arguments and the errors are those of `adsum.open`:

    - `name`, or `path`: which registry.
    - `namespace`, `node`: they complete a plain string to a `ProcessId`.
    - `timeout`: seconds for each write that names no timeout; None for the registry's `Limits.registration_timeout`.
    - `limits`: the `Limits` of the registry; they count only if this process makes it. Where the registry exists with
      other limits, a warning says so; `Registry.limits` are its own.
    - `registrar_command`: the program with which this process starts a registrar.
    - `on_lost`: called when the registry is gone, because its folder was removed, with the list of the entries that
      this process registered through this object. They are registered anew, as new incarnations, unless it returns
      False. It runs in a thread of adsum's.

    >>> async with adsum.open_async(timeout=2) as registry:
    ...     registration = await registry.register("planner-1")
    ...     print(len(registry))
    1
    """
    return AsyncRegistry(
        name,
        path=path,
        namespace=namespace,
        node=node,
        timeout=timeout,
        limits=limits,
        registrar_command=registrar_command,
        on_lost=on_lost,
        cluster=cluster,
    )
