"""Checks of the registry itself: PID namespace, clocks, registrar, memory and tables."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ... import Registry, admin
from ...errors import AdsumError
from ...model import Stats
from ..absence import absence
from ..options import RegistryOptions
from ..registrar.ping import explain_silence
from .findings import DoctorFinding, absent, ok, problem, warning

FULL = 0.8


def check_registry(registry: Registry, options: RegistryOptions) -> Iterator[DoctorFinding]:
    """One finding for each check, also where others fail."""
    for check, find in (
        ("pid namespace", _pid_namespace),
        ("place", lambda registry: _location(registry, options)),
        ("clock", _clock),
        ("registrar", _registrar),
        ("memory", _memory),
        ("tables", _tables),
    ):
        try:
            yield find(registry)
        except AdsumError as error:
            # The message contains the remedy.
            yield problem(check, str(error))


def _pid_namespace(registry: Registry) -> DoctorFinding:
    # The registry is open, so it belongs to this namespace.
    number, header = admin.pid_namespace(), admin.page_header(registry.folder)
    return ok("pid namespace", f"{number}, {'the same as the registry' if header else 'no registry yet'}")


def _location(registry: Registry, options: RegistryOptions) -> DoctorFinding:
    others = ", ".join(map(str, admin.other_registries(registry.folder)))
    if others:
        return warning(
            "place",
            f"{registry.folder} is the registry of this name; another one lives in {others}, made by an earlier adsum",
            f"restart the members of {others}, or set ADSUM_DIR for all of them",
        )
    if says := absence(registry.folder, options):
        return absent("place", says)
    return ok("place", f"{registry.folder} is the only registry of this name")


def _clock(registry: Registry) -> DoctorFinding:
    now, monotonic = datetime.now(UTC), time.monotonic_ns()
    boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    header = admin.page_header(registry.folder)
    if header is not None and (header.started_ns > monotonic or _is_in_other_time(header.registrar.pid)):
        return warning(
            "clock",
            "the registrar is in another time namespace: deadlines are converted, but the uptime shown here is wrong",
            "nothing is needed; for a right uptime, ask in the registrar's namespace (time_namespaces(7))",
        )
    newest = _newest(registry)
    if newest is not None and newest > now:
        return warning(
            "clock",
            f"the wall clock is {(newest - now).total_seconds():.1f} s behind the newest change in the registry",
            "set the clock, with a time service; liveness and ownership of ids do not depend on it",
        )
    if now - timedelta(microseconds=boot / 1000) < datetime(2020, 1, 1, tzinfo=UTC):
        return warning("clock", f"the wall clock says {now:%Y-%m-%d}", "set the clock, with a time service")
    return ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC, not behind any change in the registry")


def _is_in_other_time(registrar: int) -> bool:
    """Whether the registrar is in another time namespace; False where that is unknown."""
    try:
        return Path("/proc/self/ns/time").readlink() != Path(f"/proc/{registrar}/ns/time").readlink()
    except OSError:
        # It has exited, or the kernel has no time namespaces (before Linux 5.6).
        return False


def _newest(registry: Registry) -> datetime | None:
    moments = [entry.last_updated for entry in registry.find()]
    moments += [departure.at for departure in registry.departures(1)]
    return max(moments, default=None)


def _registrar(registry: Registry) -> DoctorFinding:
    stats = registry.stats()
    if stats.registrar_pid is None:
        return _no_registrar(stats, registry.folder / admin.LOG_NAME)
    try:
        seconds = admin.ping(registry.folder)
    except OSError as error:
        return problem("registrar", *explain_silence(stats.registrar_pid, error))
    state = f"pid {stats.registrar_pid} answers in {seconds * 1000:.1f} ms, restarts so far: {stats.restarts}"
    state += f"; its log is {registry.folder / admin.LOG_NAME}"
    if stats.unwatched_by_kernel:
        return warning(
            "registrar",
            f"{state}; it scans for the deaths of {stats.unwatched_by_kernel} owners, for lack of descriptors",
            f"raise the hard limit of open files where the registrar is started, then: kill {stats.registrar_pid}",
        )
    return ok("registrar", state)


def _no_registrar(stats: Stats, log: Path) -> DoctorFinding:
    ended = f"; why the last one ended is in {log}" if log.exists() else ""
    if stats.entries:
        return warning(
            "registrar",
            f"not running, with {stats.entries} entries stored; reads are correct, but dead entries stay in the tables"
            f"{ended}",
            "run: adsum registrar",
        )
    return ok("registrar", f"not running, and not needed; the first write starts one{ended}")


def _memory(registry: Registry) -> DoctorFinding:
    stats = registry.stats()
    part = stats.bytes_used / stats.bytes_limit
    state = f"{stats.entries} entries use {part:.1%} of the registry's limit"
    if part > FULL:
        return warning(
            "memory",
            state,
            "unregister entries, store less metadata, or create the registry with a larger --max-memory-mib",
        )
    return ok("memory", state)


def _tables(registry: Registry) -> DoctorFinding:
    violations = registry.audit()
    if violations:
        return problem(
            "tables",
            f"{len(violations)} violations, the first: {violations[0]}",
            f"report a bug with the output of adsum audit; then {admin.remedy_for_damage(registry.folder)}",
        )
    return ok("tables", "all rows are consistent (I1 to I5)")
