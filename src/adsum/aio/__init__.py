"""The registry for asyncio: reads are plain calls, because they never wait; writes are awaited.

    async with adsum.open_async() as registry:
        await registry.register("planner-1", capabilities={"planning"})
        team = registry.find(capability="planning")

`opening`, `registry`, `registration`, `registrations`, `claim`, `live_entries`, `many` and `member_functions` are the
twins of the modules of those names one level up.
"""

from __future__ import annotations

from .claim import AsyncClaim, AsyncClaimCall
from .live_entries import AsyncLiveEntries
from .opening import open_async
from .registration import AsyncRegistration
from .registrations import AsyncRegistrations
from .registry import AsyncRegistry
from .watch import AsyncWatch

__all__ = [
    "AsyncClaim",
    "AsyncClaimCall",
    "AsyncLiveEntries",
    "AsyncRegistration",
    "AsyncRegistrations",
    "AsyncRegistry",
    "AsyncWatch",
    "open_async",
]
