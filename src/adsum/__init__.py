"""adsum: a registry of the living processes on one machine, or on many.

A process registers under a name and says what it can do. Every other process finds it, until it dies.

    >>> import adsum
    >>> registry = adsum.open()
    >>> registration = registry.register("planner-1", capabilities={"planning"}, endpoint="http://127.0.0.1:9001")
    >>> for entry in registry.find(capability="planning", health_status="healthy"):
    ...     print(entry.process_id.local_id, entry.metadata.endpoint)
    planner-1 http://127.0.0.1:9001

Three ideas:

- **An entry belongs to a process, not to an object.** It ends when the process dies, which the kernel reports; no
  lookup ever gives a dead process.
- **Reads are local.** `lookup`, `find` and `count` go to shared memory and involve no other process. Writes go to one
  small process, the registrar, which starts when it is needed; there is no server to run.
- **An id has one holder.** Of many processes that register the same id one succeeds; the others get
  `AlreadyRegistered`, or stand by for it.

Where to read on: ``help(adsum.Registry)`` for the calls; ``help(adsum.AsyncRegistry)`` for asyncio;
``help(adsum.Metadata)`` for what a process can say about itself; `adsum.errors`; `adsum.telemetry`; and the command
``adsum --help``.

(PYTEST_DONT_REWRITE: for pytest, which else warns where adsum was imported before it; there are no assertions.)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import admin as admin
    from . import admin_cluster as admin_cluster
    from . import asgi as asgi
    from . import cards as cards
    from . import errors as errors
    from . import mcp as mcp
    from . import otel as otel
    from . import program_gate as program_gate
    from . import telemetry as telemetry
    from . import web as web
    from ._amendment import UpdateKeywords
    from ._os.usage import Usage
    from ._ranges import Range, at_least, at_most, between
    from ._store.query import ALL, Conditions
    from ._validation import AsyncMetadataKeywords, MetadataKeywords
    from ._watching import Watch
    from .aio import (
        AsyncClaim,
        AsyncClaimCall,
        AsyncLiveEntries,
        AsyncRegistration,
        AsyncRegistrations,
        AsyncRegistry,
        open_async,
    )
    from .aio.watch import AsyncWatch
    from .claim import Claim
    from .errors import (
        AdsumError,
        AlreadyRegistered,
        ClusterUnavailable,
        CorruptRegistry,
        DeadProcess,
        InternalError,
        InvalidClusterAddress,
        InvalidMetadata,
        InvalidName,
        InvalidProcessId,
        InvalidQuery,
        NoEventLoop,
        NotRegistered,
        OtherHost,
        PermissionDenied,
        RegistrarUnavailable,
        RegistryClosed,
        RegistryFull,
        Stale,
        SystemBusy,
        Timeout,
        UnknownCondition,
        UnsupportedPlatform,
        VersionMismatch,
        WrongNamespace,
    )
    from .freezing import freeze_support
    from .live_entries import LiveEntries
    from .member_gauges import Gauges
    from .model import (
        ClaimRecord,
        CleanupLatency,
        ClusterStats,
        Departure,
        Entry,
        Event,
        HealthSource,
        HealthStatus,
        Host,
        Kind,
        Limits,
        Metadata,
        Origin,
        OwningMember,
        ProcessId,
        ProcessType,
        Reach,
        Revision,
        Stats,
    )
    from .opening import open as open
    from .registration import Registration
    from .registrations import Registrations
    from .registry import Registry

__version__ = "0.2.0.dev0"

__all__ = [
    "ALL",
    "AdsumError",
    "AlreadyRegistered",
    "AsyncClaim",
    "AsyncClaimCall",
    "AsyncLiveEntries",
    "AsyncMetadataKeywords",
    "AsyncRegistration",
    "AsyncRegistrations",
    "AsyncRegistry",
    "AsyncWatch",
    "Claim",
    "ClaimRecord",
    "CleanupLatency",
    "ClusterStats",
    "ClusterUnavailable",
    "Conditions",
    "CorruptRegistry",
    "DeadProcess",
    "Departure",
    "Entry",
    "Event",
    "Gauges",
    "HealthSource",
    "HealthStatus",
    "Host",
    "InternalError",
    "InvalidClusterAddress",
    "InvalidMetadata",
    "InvalidName",
    "InvalidProcessId",
    "InvalidQuery",
    "Kind",
    "Limits",
    "LiveEntries",
    "Metadata",
    "MetadataKeywords",
    "NoEventLoop",
    "NotRegistered",
    "Origin",
    "OtherHost",
    "OwningMember",
    "PermissionDenied",
    "ProcessId",
    "ProcessType",
    "Range",
    "Reach",
    "RegistrarUnavailable",
    "Registration",
    "Registrations",
    "Registry",
    "RegistryClosed",
    "RegistryFull",
    "Revision",
    "Stale",
    "Stats",
    "SystemBusy",
    "Timeout",
    "UnknownCondition",
    "UnsupportedPlatform",
    "UpdateKeywords",
    "Usage",
    "VersionMismatch",
    "Watch",
    "WrongNamespace",
    "at_least",
    "at_most",
    "between",
    "freeze_support",
    "open_async",
]
# Not in `__all__`: `from adsum import *` must not put it in the place of the builtin.
_PUBLIC = ("open", *__all__)


# The modules that define these names, from the cheapest to import to the dearest. A name is imported when it is first
# used, because a registrar needs few of the modules and has to start quickly.
_HOMES = (
    "errors",
    "model",
    "_os.folder",
    "_os.usage",
    "_ranges",
    "_store.query",
    "_validation",
    "_amendment",
    "freezing",
    "member_gauges",
    "registration",
    "registrations",
    "live_entries",
    "claim",
    "registry",
    "opening",
    "aio",
)


# Public modules that are imported when they are first used.
_MODULES = ("admin", "admin_cluster", "asgi", "cards", "errors", "mcp", "otel", "program_gate", "telemetry", "web")


# A type checker that saw it would accept every name. It has the imports above.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return importlib.import_module(f".{name}", __name__)
        if name in _PUBLIC:
            for home in _HOMES:
                module = importlib.import_module(f".{home}", __name__)
                if hasattr(module, name):
                    value = globals()[name] = getattr(module, name)
                    return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
