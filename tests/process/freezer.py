"""A control group whose processes a test can freeze, as `docker pause` does (cgroups(7), freezer)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import pytest

from ..support import eventually
from ..support.control_group import ControlGroup, control_group


class Freezer:
    """The group, of version 1 or 2."""

    def __init__(self, group: ControlGroup) -> None:
        self._group, self._is_first = group

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
    """A group without processes. Skips the test where there can be none, and where the kernel has no freezer."""
    with control_group("freezer") as group:
        if not any((group.path / name).exists() for name in ("freezer.state", "cgroup.freeze")):
            pytest.skip(f"{group.path} has no freezer")
        yield Freezer(group)
