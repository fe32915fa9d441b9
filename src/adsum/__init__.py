"""adsum: a registry of living processes for Python multi-agent systems.

Names are imported when they are first used: the registrar needs a few of the modules and starts in a few hundredths of
a second because it loads no others.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._store.query import Conditions
    from ._watching import Watch
    from .aio import AsyncRegistration, AsyncRegistry, open_async
    from .aio.watch import AsyncWatch
    from .errors import (
        AdsumError,
        AlreadyRegistered,
        CorruptRegistry,
        DeadProcess,
        InternalError,
        InvalidMetadata,
        InvalidName,
        InvalidProcessId,
        InvalidQuery,
        NotRegistered,
        PermissionDenied,
        RegistrarUnavailable,
        RegistryClosed,
        RegistryFull,
        Stale,
        SystemBusy,
        Timeout,
        UnsupportedPlatform,
        VersionMismatch,
        WrongNamespace,
    )
    from .model import (
        CleanupLatency,
        Departure,
        Entry,
        Event,
        HealthSource,
        HealthStatus,
        Kind,
        Limits,
        Metadata,
        ProcessId,
        ProcessType,
        Revision,
        Stats,
    )
    from .opening import open
    from .registration import Registration
    from .registry import Registry

__version__ = "0.1.0"

__all__ = [
    "AdsumError",
    "AlreadyRegistered",
    "AsyncRegistration",
    "AsyncRegistry",
    "AsyncWatch",
    "CleanupLatency",
    "Conditions",
    "CorruptRegistry",
    "DeadProcess",
    "Departure",
    "Entry",
    "Event",
    "HealthSource",
    "HealthStatus",
    "InternalError",
    "InvalidMetadata",
    "InvalidName",
    "InvalidProcessId",
    "InvalidQuery",
    "Kind",
    "Limits",
    "Metadata",
    "NotRegistered",
    "PermissionDenied",
    "ProcessId",
    "ProcessType",
    "RegistrarUnavailable",
    "Registration",
    "Registry",
    "RegistryClosed",
    "RegistryFull",
    "Revision",
    "Stale",
    "Stats",
    "SystemBusy",
    "Timeout",
    "UnsupportedPlatform",
    "VersionMismatch",
    "Watch",
    "WrongNamespace",
    "open",
    "open_async",
]


# The modules that define these names, from the cheapest to import to the dearest.
_HOMES = ("errors", "model", "_os.folder", "_store.query", "registration", "registry", "opening", "aio")


def __getattr__(name: str) -> Any:
    if name in ("admin", "telemetry"):
        return importlib.import_module(f".{name}", __name__)
    if name in __all__:
        for home in _HOMES:
            module = importlib.import_module(f".{home}", __name__)
            if hasattr(module, name):
                value = globals()[name] = getattr(module, name)
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
