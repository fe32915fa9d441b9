"""The `process` argument of `register`: the owner of the entry, and the thread or task inside it, if it is for one."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any, NamedTuple, Protocol, TypeAlias

from .._foreign import reraise_foreign
from .._os import identity, polling
from .._os.liveness import descriptors_needed
from ..errors import DeadProcess
from ..model import Owner
from .member_lifetimes import Member


class ProcessObject(Protocol):
    """An object for a process, such as a `subprocess.Popen` or a `multiprocessing.Process`; None where it was not
    started yet."""

    @property
    def pid(self) -> int | None: ...


class AnyTask(Protocol):
    """An `asyncio.Task`, by what sets it apart from a future: asyncio is not imported for its name alone."""

    def get_coro(self) -> object: ...
    def get_name(self) -> str: ...


# The values of a `process` argument, beside None: of those that take neither a thread nor a task, and of the others.
WholeProcess: TypeAlias = int | ProcessObject
AnyProcess: TypeAlias = WholeProcess | threading.Thread | AnyTask


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
    return _is_a(process, "asyncio", "Task")


def _owner_of(process: Any) -> Owner:
    pid = process if isinstance(process, int) and not isinstance(process, bool) else getattr(process, "pid", process)
    if pid is None:
        raise DeadProcess(f"{process!r} was not started yet; register it once it runs")
    if not isinstance(pid, int) or isinstance(pid, bool):
        raise TypeError(
            f"cannot register {process!r}: give a pid, a Popen, a multiprocessing.Process, a Thread, an asyncio.Task, "
            "or anything with a .pid"
        )
    # The object is asked after its pid was identified. If it still means a living process then, that is the one which
    # was identified: an earlier holder of the pid could not have come back.
    owner = None if pid <= 0 else identity.identify(pid)
    if owner is None or _is_over(process, pid):
        message = f"process {pid} has exited, or never was; only a living process can be registered"
        # A number means the process that has it now.
        if process is not pid:
            message += f". If another process has this pid by now and is meant, give the number: {pid}"
        raise DeadProcess(message)
    return owner


def _is_over(process: Any, pid: int) -> bool:
    """Whether the process that an object was made for is known to have ended. Its pid may be another one's by now."""
    # A Popen or Process that was waited for has released its pid.
    if any(isinstance(getattr(process, name, None), int) for name in ("returncode", "exitcode")):
        return True
    # psutil.Process compares the creation time.
    if callable(is_running := getattr(process, "is_running", None)):
        return not is_running()
    if _is_a(process, "multiprocessing.process", "BaseProcess"):
        # The end of a pipe of which the process has the other end.
        return polling.is_readable(process.sentinel)
    return _is_a(process, "subprocess", "Popen") and not _is_child(pid)


def _is_a(process: Any, module: str, name: str) -> bool:
    # A process that has such an object has imported its module; no other one should pay for the import.
    return module in sys.modules and isinstance(process, getattr(sys.modules[module], name))


def _is_child(pid: int) -> bool:
    """Whether a process is a child of this one. Where SIGCHLD is ignored the kernel reaps a child at its end, and no
    wait has the result (waitpid(2))."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError as error:
        reraise_foreign(error)
        return False
    return True
