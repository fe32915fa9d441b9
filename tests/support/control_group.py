"""A control group for the processes of a test (cgroups(7)), of version 1 or 2."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from .waiting import eventually

_ALL = Path("/sys/fs/cgroup")


class ControlGroup(NamedTuple):
    """The group's folder, and whether it is of version 1, where each controller has its own hierarchy."""

    path: Path
    is_first: bool


@contextlib.contextmanager
def control_group(controller: str) -> Iterator[ControlGroup]:
    """A group without processes, removed after the block, when its processes have ended. Skips the test without root,
    and where none can be made."""
    if os.geteuid():
        pytest.skip("only root may make a control group")
    is_first = (_ALL / controller / "cgroup.procs").exists()
    parent = _ALL / controller if is_first else _ALL
    group = parent / f"adsum-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made in {parent}: {error.strerror}")
    try:
        yield ControlGroup(group, is_first)
    finally:
        eventually(lambda: not (group / "cgroup.procs").read_text())
        eventually(lambda: _removed(group))


def _removed(group: Path) -> bool:
    """The kernel may still be about to let the last process go."""
    try:
        group.rmdir()
    except OSError:
        return False
    return True
