"""The `process` argument of `register`: the owner of the entry, and the thread or task inside it, if it is for one."""

from __future__ import annotations

import sys
import threading
from typing import Any, NamedTuple

from .._os import identity
from .._os.liveness import descriptors_needed
from ..errors import DeadProcess
from ..model import Owner
from .member_lifetimes import Member


class Target(NamedTuple):
    """The process that owns the entry; `member` is the thread or task with which it ends, None for the process."""

    owner: Owner
    member: Member = None


def resolve(process: Any) -> Target:
    """The target of a `process` argument. Errors: `DeadProcess`; `TypeError` where it is no process; `SystemBusy` where
    no descriptor is left to identify it with."""
    with descriptors_needed():
        return _resolve(process)


def _resolve(process: Any) -> Target:
    if process is None:
        return Target(identity.current())
    if isinstance(process, threading.Thread):
        if not process.is_alive():
            raise DeadProcess(f"the thread {process.name!r} has ended or was not started; register it while it runs")
        return Target(identity.current(), process)
    if _is_task(process):
        if process.done():
            raise DeadProcess(f"the task {process.get_name()!r} is done; register it while it runs")
        return Target(identity.current(), process)
    return Target(_owner_of(process))


def _is_task(process: Any) -> bool:
    # A process that has a task has imported asyncio; no other one should pay for the import.
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and isinstance(process, asyncio.Task)


def _owner_of(process: Any) -> Owner:
    pid = process if isinstance(process, int) and not isinstance(process, bool) else getattr(process, "pid", process)
    if pid is None:
        raise DeadProcess(f"{process!r} was not started yet; register it once it runs")
    if not isinstance(pid, int) or isinstance(pid, bool):
        raise TypeError(
            f"cannot register {process!r}: give a pid, a Popen, a multiprocessing.Process, a Thread, an asyncio.Task, "
            "or anything with a .pid"
        )
    # A Popen or Process that was waited for has released its pid, which another process may have by now.
    waited = any(isinstance(getattr(process, name, None), int) for name in ("returncode", "exitcode"))
    owner = None if pid <= 0 or waited else identity.identify(pid)
    if owner is None:
        raise DeadProcess(f"process {pid} has exited, or never was; only a living process can be registered")
    return owner
