"""A control group whose processes a test can freeze, as `docker pause` does (cgroups(7), freezer)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from ..support import eventually

_FIRST = Path("/sys/fs/cgroup/freezer")
_SECOND = Path("/sys/fs/cgroup")


class Freezer:
    """The group, of version 1 or 2."""

    def __init__(self, group: Path) -> None:
        self._group = group
        self._is_first = group.parent == _FIRST

    def add(self, pids: Iterable[int]) -> None:
        for pid in pids:
            (self._group / "cgroup.procs").write_text(str(pid))

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        self._set("FROZEN" if self._is_first else "1")
        try:
            eventually(self._is_frozen)
            yield
        finally:
            self._set("THAWED" if self._is_first else "0")

    def _set(self, state: str) -> None:
        (self._group / ("freezer.state" if self._is_first else "cgroup.freeze")).write_text(state)

    def _is_frozen(self) -> bool:
        if self._is_first:
            return (self._group / "freezer.state").read_text().strip() == "FROZEN"
        return "frozen 1" in (self._group / "cgroup.events").read_text()


@contextlib.contextmanager
def freezer() -> Iterator[Freezer]:
    """A group without processes, removed after the block, when its processes have ended. Skips the test without root,
    and where the kernel has no freezer."""
    if os.geteuid():
        pytest.skip("only root may make a control group")
    parent = _FIRST if (_FIRST / "cgroup.procs").exists() else _SECOND
    group = parent / f"adsum-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made in {parent}: {error.strerror}")
    try:
        if not any((group / name).exists() for name in ("freezer.state", "cgroup.freeze")):
            pytest.skip(f"{parent} has no freezer")
        yield Freezer(group)
    finally:
        eventually(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()
