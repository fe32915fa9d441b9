"""Whom a registration is for: a process, or a thread or task inside this one."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from .._os import identity
from .._os.liveness import descriptors_needed
from ..errors import DeadProcess
from ..model import Owner
from . import member_lifetimes


class Target(NamedTuple):
    """The process that owns the entry, and the thread or task it lives in, if it is for less than the process."""

    owner: Owner
    member: Any = None

    def over(self) -> Callable[[], bool]:
        """What tells whether the thread or task is over. It does not keep it from being collected."""
        referred = weakref.ref(self.member)

        def is_over() -> bool:
            found = referred()
            if isinstance(found, threading.Thread):
                return not found.is_alive()
            return found is None or found.done() or found.get_loop().is_closed()

        return is_over

    def when_over(self, ended: member_lifetimes.Ended) -> None:
        """Call `ended` when the thread or task is over."""
        if isinstance(self.member, threading.Thread):
            member_lifetimes.when_thread_ends(self.member, ended)
        else:
            member_lifetimes.when_task_ends(self.member, ended)


def resolve(process: Any) -> Target:
    """What `register` was given as `process`. Errors: `DeadProcess`; `TypeError` for what is no process; `SystemBusy`
    where no descriptor is left to identify it with."""
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
    # A process that has a task has imported asyncio; nobody else should pay for it.
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
    # A Popen or Process that was waited for has let go of its number, which may be somebody else's by now.
    waited = any(isinstance(getattr(process, name, None), int) for name in ("returncode", "exitcode"))
    owner = None if pid <= 0 or waited else identity.identify(pid)
    if owner is None:
        raise DeadProcess(f"process {pid} has exited, or never was; only a living process can be registered")
    return owner
