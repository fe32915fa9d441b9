"""A registry in little memory: documented errors only, no dead member is found, deaths go on, and room is noticed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import adsum
from adsum import Registry

from ..support import Child, eventually, kill_registrar
from .crowding import crowd, live, registers, tally_of
from .memory_group import MemoryGroup, memory_group
from .mounts import small_tmpfs
from .quotas import BOUND, tmpfs_with_quota

MEBIBYTE = 1024 * 1024


@pytest.mark.parametrize("size", [16, 64])
def test_a_crowd_in_a_small_file_system(size: int, registry_folder: Path) -> None:
    """In a tmpfs as small as a container's, a crowd that fills it meets documented errors only; a member that dies then
    is gone, the registrar rests, and with room the next registration succeeds."""
    with small_tmpfs(registry_folder.with_name("small"), size * MEBIBYTE) as place:
        _live(place / "registry")


def test_a_crowd_under_a_quota(registry_folder: Path) -> None:
    """The same, where a quota of the file system is used up (EDQUOT) while the file system itself has room."""
    with tmpfs_with_quota(registry_folder.with_name("small"), 16 * MEBIBYTE) as place:
        _live(place / "registry", BOUND)


def _live(folder: Path, prefix: tuple[str, ...] = ()) -> None:
    try:
        with Child(live, folder, prefix=prefix) as child:
            child.line(60)
            assert child.wait() == 0
    finally:
        kill_registrar(folder)


@contextlib.contextmanager
def registrar_in(group: MemoryGroup, folder: Path) -> Iterator[Registry]:
    """A registry whose registrar is in the group, and this process is not."""
    try:
        with Child(_begin, folder, prefix=group.prefix) as child:
            child.expect("begun")
        with adsum.open(path=folder, timeout=10) as registry:
            yield registry
    finally:
        kill_registrar(folder)


def _begin(folder: str) -> None:
    with adsum.open(path=folder, timeout=10) as registry:
        registry.register("first")
        print("begun")


@pytest.mark.parametrize("inside", [True, False], ids=["a whole container", "the registrar alone"])
def test_a_crowd_in_a_full_control_group(inside: bool, registry_folder: Path) -> None:
    """Where a control group has no memory left the kernel kills, also the registrar. Nothing of it is a foreign error,
    no dead member is found, and a registrar outside the group removes all of the dead and serves."""
    with memory_group(48 * MEBIBYTE) as group, registrar_in(group, registry_folder) as registry:
        if not inside:
            group.limit(32 * MEBIBYTE)
        with contextlib.ExitStack() as stack:
            prefix = group.prefix if inside else ()
            members = [stack.enter_context(Child(crowd, registry_folder, prefix=prefix)) for _ in range(2)]
            eventually(group.kills, 60)
            living = [member for member in members if member.process.poll() is None]
            assert {entry.pid for entry in registry.find()} <= {member.pid for member in living}
            for member in living if not inside else ():
                tally = tally_of(member)
                assert tally.is_documented("registrar_unavailable"), tally
        assert registry.find() == []
        eventually(lambda: registers(registry, "late"), 5)
        eventually(lambda: registry.stats().entries == 1, 5)
        assert registry.audit() == []
