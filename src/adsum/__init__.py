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
    from .registry import Registration, Registry, open

__version__ = "0.1.0"

_HOME = {
    "_os.folder": ("InvalidName",),
    "_store.query": ("Conditions",),
    "_watching": ("Watch",),
    "aio": ("AsyncRegistration", "AsyncRegistry", "open_async"),
    "aio.watch": ("AsyncWatch",),
    "errors": (
        "AdsumError",
        "AlreadyRegistered",
        "CorruptRegistry",
        "DeadProcess",
        "InternalError",
        "InvalidMetadata",
        "InvalidName",
        "InvalidProcessId",
        "InvalidQuery",
        "NotRegistered",
        "PermissionDenied",
        "RegistrarUnavailable",
        "RegistryClosed",
        "RegistryFull",
        "Stale",
        "SystemBusy",
        "Timeout",
        "UnsupportedPlatform",
        "VersionMismatch",
        "WrongNamespace",
    ),
    "model": (
        "CleanupLatency",
        "Departure",
        "Entry",
        "Event",
        "HealthSource",
        "HealthStatus",
        "Kind",
        "Limits",
        "Metadata",
        "ProcessId",
        "ProcessType",
        "Revision",
        "Stats",
    ),
    "registry": ("Registration", "Registry", "open"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

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


def __getattr__(name: str) -> Any:
    if name == "telemetry":
        return importlib.import_module(".telemetry", __name__)
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'adsum' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
