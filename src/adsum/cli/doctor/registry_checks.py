"""What `adsum doctor` asks of the registry: PID namespace, clocks, registrar, tables."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ... import Registry, admin
from ...errors import AdsumError
from ...model import Stats
from ..registrar.ping import explain_silence
from .findings import Finding, ok, problem, warning

FULL = 0.8


def check_registry(registry: Registry) -> Iterator[Finding]:
    """Each question apart: what one cannot tell, another may."""
    for check, ask in (
        ("pid namespace", _pid_namespace),
        ("clock", _clock),
        ("registrar", _registrar),
        ("memory", _memory),
        ("tables", _tables),
    ):
        try:
            yield ask(registry)
        except AdsumError as error:
            # The message says what to do.
            yield problem(check, str(error))


def _pid_namespace(registry: Registry) -> Finding:
    # Another namespace's registry could not be opened.
    number, page = admin.pid_namespace(), admin.page_header(registry.folder)
    return ok("pid namespace", f"{number}, {'the same as the registry' if page else 'no registry yet'}")


def _clock(registry: Registry) -> Finding:
    now, monotonic = datetime.now(UTC), time.monotonic_ns()
    boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    page = admin.page_header(registry.folder)
    if page is not None and (page.started_ns > monotonic or _in_other_time(page.registrar.pid)):
        return problem(
            "clock",
            "the registrar has another monotonic clock than this process, so deadlines mean nothing",
            "run both in the same time namespace (time_namespaces(7))",
        )
    newest = _newest(registry)
    if newest is not None and newest > now:
        return warning(
            "clock",
            f"the wall clock is {(newest - now).total_seconds():.1f} s behind the newest change in the registry",
            "set the clock, with a time service; who lives and who owns an id does not depend on it",
        )
    if now - timedelta(microseconds=boot / 1000) < datetime(2020, 1, 1, tzinfo=UTC):
        return warning("clock", f"the wall clock says {now:%Y-%m-%d}", "set the clock, with a time service")
    return ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC, behind nothing that is registered")


def _in_other_time(registrar: int) -> bool:
    """Whether the registrar is known to be in another time namespace."""
    try:
        return Path("/proc/self/ns/time").readlink() != Path(f"/proc/{registrar}/ns/time").readlink()
    except OSError:
        # It is gone, or the kernel has no time namespaces (before 5.6).
        return False


def _newest(registry: Registry) -> datetime | None:
    moments = [entry.last_updated for entry in registry.find()]
    moments += [departure.at for departure in registry.departures(1)]
    return max(moments, default=None)


def _registrar(registry: Registry) -> Finding:
    found = registry.stats()
    if found.registrar_pid is None:
        return _no_registrar(registry, found)
    try:
        seconds = admin.ping(registry.folder)
    except OSError as error:
        return problem("registrar", *explain_silence(found.registrar_pid, error))
    says = f"pid {found.registrar_pid} answers in {seconds * 1000:.1f} ms, restarts so far: {found.restarts}"
    if found.unwatched_by_kernel:
        return warning(
            "registrar",
            f"{says}; {found.unwatched_by_kernel} owners are found by scanning, for want of descriptors",
            "raise the hard limit of open files where the registrar is started, then: kill it",
        )
    return ok("registrar", says)


def _no_registrar(registry: Registry, found: Stats) -> Finding:
    if found.entries:
        return warning(
            "registrar",
            f"none runs, and {found.entries} entries are stored; reads are right, but the dead stay in the tables",
            "run: adsum registrar",
        )
    return ok("registrar", "none runs, and none is needed; the first write starts one")


def _memory(registry: Registry) -> Finding:
    found = registry.stats()
    part = found.bytes_used / found.bytes_limit
    says = f"{found.entries} entries use {part:.1%} of the registry's limit"
    if part > FULL:
        return warning(
            "memory", says, "unregister some, store less metadata, or make the registry with a larger --max-memory-mib"
        )
    return ok("memory", says)


def _tables(registry: Registry) -> Finding:
    violations = registry.audit()
    if violations:
        return problem(
            "tables",
            f"{len(violations)} violations, the first: {violations[0]}",
            f"report it with the output of adsum audit; then {admin.remedy_for_damage(registry.folder)}",
        )
    return ok("tables", "every row agrees with every other (I1 to I5)")
