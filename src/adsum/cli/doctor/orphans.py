"""``adsum doctor --orphans``: processes that outlive what they belong to.

Three things are looked for: programs of `adsum run`, and what these have started, whose `adsum run` has ended; members
whose owning member has left; and members whose parent has ended. No kernel keeps the parent that a process had first.
So the last one is recognised by what it leaves: the process belongs to init now, and is in a session that neither it
nor init has begun. A service of init begins a session of its own, and so does a daemon.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from ... import ALL, Registry, admin
from ...model import Entry
from ...views.order import by_id
from .. import processes
from ..absence import absence
from ..options import RegistryOptions
from ..output import render
from ..processes import ProcessRecord
from ..run import mark
from .findings import DoctorFinding, absent, ok, problem

# The first process of a PID namespace, and the manager of a user's services below it, get the children of the dead.
_INIT = 1
_USER_MANAGER = "systemd"


def check_orphans(registry: Registry, options: RegistryOptions) -> Iterator[DoctorFinding]:
    """One finding for each process, or a single one where none is left behind; and one where there is no registry."""
    if says := absence(registry.folder, options):
        yield absent("registry", says)
    members: dict[int, list[Entry]] = {}
    for entry in sorted(registry.find(namespace=ALL), key=lambda entry: by_id(entry.process_id)):
        members.setdefault(entry.pid, []).append(entry)
    supervised = [process for process in _own_processes() if _has_lost_supervisor(process)]
    for process in supervised:
        yield _supervised(process, members.get(process.pid, []))
    known = {process.pid for process in supervised}
    others = [finding for pid, entries in members.items() if pid not in known for finding in _of(entries, registry)]
    yield from others
    if not supervised and not others:
        yield ok("orphans", "no member, and no program that adsum run has started, is left behind")


def _own_processes() -> Iterator[ProcessRecord]:
    user = os.getuid()
    return (process for process in processes.read_all() if process.user == user and process.pid != os.getpid())


def _has_lost_supervisor(process: ProcessRecord) -> bool:
    supervisor = mark.supervisor_of(process.pid)
    if supervisor is None:
        return False
    pidfd = admin.open_pidfd(supervisor)
    if pidfd is None:
        # It is dead. The process lives, if it is the one that was read.
        return processes.read(process.pid) == process
    os.close(pidfd)
    return False


def _supervised(process: ProcessRecord, entries: list[Entry]) -> DoctorFinding:
    supervisor = mark.supervisor_of(process.pid)
    number = f"pid {supervisor.pid}" if supervisor is not None else "which"
    return problem(
        "supervisor",
        f"{_named(process, entries)} comes from an adsum run ({number}) that has ended",
        f"end it, if it is not meant to go on: kill {process.pid}",
    )


def _of(entries: list[Entry], registry: Registry) -> Iterator[DoctorFinding]:
    process = processes.read(entries[0].pid)
    if process is None or process.start_ticks != entries[0].start_time:
        # It has ended since.
        return
    left = [entry for entry in entries if _has_lost_owner(entry, registry)]
    for entry in left:
        yield _owned(process, entry)
    if not left and _has_lost_parent(process):
        yield problem(
            "parent",
            f"{_named(process, entries)} belongs to init (pid {process.parent}): the process that started it has ended",
            f"end it, if it is not meant to go on: kill {process.pid}; to have it end with its parent, start it with "
            "adsum run --die-with-parent",
        )


def _has_lost_owner(entry: Entry, registry: Registry) -> bool:
    if entry.owned_by is None:
        return False
    owning = registry.lookup(entry.owned_by.process_id)
    return owning is None or owning.owner != entry.owned_by.owner


def _owned(process: ProcessRecord, entry: Entry) -> DoctorFinding:
    owned_by = entry.owned_by
    name, pid = ("", 0) if owned_by is None else (render.printable_id(str(owned_by.process_id)), owned_by.pid)
    return problem(
        "owner",
        f"{_named(process, [entry])} is owned by {name}, which is not registered any more; its process {pid} lives, "
        "and the entry ends with that",
        f"end it, if it is not meant to go on: kill {process.pid}",
    )


def _has_lost_parent(process: ProcessRecord) -> bool:
    parent = processes.read(process.parent)
    if parent is None:
        # It is of another PID namespace, or has just ended.
        return False
    reaps = parent.pid == _INIT or (parent.parent == _INIT and parent.name == _USER_MANAGER)
    return reaps and process.session not in (process.pid, parent.session)


def _named(process: ProcessRecord, entries: list[Entry]) -> str:
    names = ", ".join(render.printable_id(str(entry.process_id)) for entry in entries)
    what = f"{names} " if names else ""
    return f"{what}(pid {process.pid}, {render.printable(process.name)})"
