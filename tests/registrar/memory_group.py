"""A control group whose processes may use only so much memory, as those of a container (cgroups(7), memory).

The pages of a file in shared memory count for the group of the process that touched them first. Where the group is
full the kernel ends a process of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from ..support.control_group import ControlGroup, control_group


class MemoryGroup:
    """The group, of version 1 or 2."""

    def __init__(self, group: ControlGroup) -> None:
        self._group, self._is_first = group
        # Begins the command of a process that is to be in the group.
        self.prefix = ("sh", "-c", f'echo $$ > {self._group}/cgroup.procs && exec "$@"', "sh")

    def limit(self, size: int) -> None:
        (self._group / ("memory.limit_in_bytes" if self._is_first else "memory.max")).write_text(str(size))
        swap = self._group / ("memory.memsw.limit_in_bytes" if self._is_first else "memory.swap.max")
        if swap.exists():
            swap.write_text(str(size if self._is_first else 0))

    def kills(self) -> int:
        """How many processes the kernel has ended because the group was full."""
        events = (self._group / ("memory.oom_control" if self._is_first else "memory.events")).read_text()
        return int(dict(line.split() for line in events.splitlines())["oom_kill"])

    def pids(self) -> list[int]:
        return [int(line) for line in (self._group / "cgroup.procs").read_text().split()]


@contextlib.contextmanager
def memory_group(size: int) -> Iterator[MemoryGroup]:
    """A group without processes that may use `size` bytes. Skips the test where there can be none; see
    `control_group`."""
    with control_group("memory") as group:
        made = MemoryGroup(group)
        try:
            made.limit(size)
        except OSError as error:
            pytest.skip(f"{group.path} does not bound memory: {error.strerror}")
        yield made
