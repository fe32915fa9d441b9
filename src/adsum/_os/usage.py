"""What a process uses, as the kernel counts it."""

from __future__ import annotations

import os
import resource
from typing import NamedTuple

from .._foreign import reraise_foreign
from .identity import stat_fields

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """What the process of a member uses. Given by `Registry.usage`.

    - `cpu_seconds`: processor time since its start, in user and kernel mode, of all its threads; the kernel counts in
      hundredths of a second.
    - `memory_bytes`: the memory that it has resident (RSS), shared pages included.

    >>> registration = registry.register("planner-1")
    >>> usage = registry.usage("planner-1")
    >>> usage.cpu_seconds > 0, usage.memory_bytes > 1_000_000
    (True, True)
    """

    cpu_seconds: float
    memory_bytes: int


def usage_of(pid: int) -> Usage | None:
    """What a process uses (proc_pid_stat(5)); None where there is no such process, or ``/proc`` does not show it."""
    try:
        fields = stat_fields(pid)
        user, system, resident = (int(fields[number - 3]) for number in (14, 15, 24))
    except (OSError, IndexError, ValueError) as error:
        reraise_foreign(error)
        return None
    return Usage((user + system) / _TICKS_PER_SECOND, resident * resource.getpagesize())
