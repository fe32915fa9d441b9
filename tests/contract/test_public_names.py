"""The public names of the package, and the cost of importing it."""

from __future__ import annotations

import builtins
import importlib.resources
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import adsum
from adsum import Registry
from tests.support import registrar_pid

NAMES = [
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


def test_the_public_names_are_these() -> None:
    """`adsum.__all__` is this list; a name is added or removed on purpose only."""
    assert sorted(adsum.__all__) == NAMES


def test_a_star_import_keeps_the_builtins() -> None:
    """``from adsum import *`` replaces no builtin: `open` is the one of Python. `adsum.open` is there all the same."""
    names: dict[str, object] = {}
    exec("from adsum import *", names)
    assert set(adsum.__all__) <= set(names)
    assert not set(adsum.__all__) & set(dir(builtins))
    assert "open" in dir(adsum)


@pytest.mark.parametrize("name", [*sorted(adsum.__all__), "open"])
def test_every_public_name_is_there_and_documented(name: str) -> None:
    """Each public name can be imported, is listed by `dir`, and has a docstring."""
    value = getattr(adsum, name)
    assert name in dir(adsum)
    assert inspect.getdoc(value)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """An unknown attribute of the package is an `AttributeError`, as in any module."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        adsum.nothing  # type: ignore[attr-defined]  # noqa: B018 - reading it is the test


@pytest.mark.parametrize("kind", [adsum.Registry, adsum.AsyncRegistry, adsum.Registration, adsum.AsyncRegistration])
def test_every_public_call_is_documented(kind: type) -> None:
    """Each public method has a docstring."""
    own = [name for name, _ in inspect.getmembers(kind, callable) if not name.startswith("_")]
    assert own
    assert [name for name in own if not inspect.getdoc(getattr(kind, name))] == []


def test_both_kinds_have_the_same_calls() -> None:
    """`Registry` and `AsyncRegistry`, and their registrations, have the same calls and differ only in awaiting."""

    def calls(kind: type) -> dict[str, list[str]]:
        public = {name: value for name, value in inspect.getmembers(kind, callable) if not name.startswith("_")}
        return {name: list(inspect.signature(value).parameters) for name, value in public.items()}

    assert calls(adsum.Registry) == calls(adsum.AsyncRegistry)
    assert calls(adsum.Registration) == calls(adsum.AsyncRegistration)
    assert inspect.signature(adsum.open).parameters.keys() == inspect.signature(adsum.open_async).parameters.keys()


@pytest.mark.parametrize("kind", [adsum.Registry, adsum.AsyncRegistry])
def test_a_call_is_defined_by_the_class_itself_or_by_the_reads(kind: type) -> None:
    """A registry inherits public calls from one class of adsum: the reads, which both kinds share."""
    defining = [one for one in kind.__mro__ if any(not name.startswith("_") for name in vars(one))]
    assert [one.__name__ for one in defining if one.__module__.startswith("adsum")] == [kind.__name__, "RegistryReads"]


def test_the_package_is_typed() -> None:
    """The package contains `py.typed`."""
    assert (importlib.resources.files("adsum") / "py.typed").is_file()


def loaded_after(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    return set(json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout))


def test_the_package_alone_loads_no_module() -> None:
    """``import adsum`` loads no other module of adsum; a public module is loaded when it is first used."""
    assert not [name for name in loaded_after("import adsum") if name.startswith("adsum.")]
    for name in ("admin", "errors", "telemetry", "web"):
        assert f"adsum.{name}" in loaded_after(f"import adsum; adsum.{name}")
    telemetry = {name for name in loaded_after("import adsum.telemetry") if name.startswith("adsum.telemetry.")}
    assert telemetry & {"adsum.telemetry.otel", "adsum.telemetry.prometheus"} == set()


HEAVY = {"asyncio", "rich", "cyclopts", "subprocess", "ssl", "email", "http", "adsum.aio", "adsum.cli"}


def test_a_registrar_needs_few_modules() -> None:
    """A registrar imports no asyncio, no terminal library and none of the client."""
    loaded = loaded_after("import adsum._registrar.background, adsum._registrar.start") - loaded_after("pass")
    assert loaded & {*HEAVY, "adsum.registry", "adsum._client", "adsum_demo"} == set()


def test_a_synchronous_program_needs_no_asyncio(registry_folder: Path) -> None:
    """Opening, registering and looking up import neither asyncio nor a terminal library."""
    code = f"import adsum\nwith adsum.open(path={str(registry_folder)!r}, timeout=10) as r: r.register('a'); r['a']"
    assert loaded_after(code) & {"asyncio", "rich", "cyclopts", "adsum.aio", "adsum.cli"} == set()


def test_a_running_registrar_has_no_asyncio(registry: Registry) -> None:
    """The registrar's process maps the library of lmdb and not that of asyncio."""
    registry.register("a")
    maps = Path(f"/proc/{registrar_pid(registry.folder)}/maps").read_text()
    assert "lmdb" in maps
    assert "_asyncio" not in maps
