"""The file system under the registry is full: writes say so, reads go on, nothing breaks, and it recovers by itself."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import adsum
from adsum import Registry, RegistryFull

from ..support import eventually, kill_registrar, registrar_pid
from .mounts import small_tmpfs

SIZE = 4 * 1024 * 1024


@pytest.fixture
def small(registry_folder: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    with small_tmpfs(registry_folder.with_name("small"), SIZE) as place:
        yield place
        kill_registrar(place / "registry")


@pytest.fixture
def crowded(small: Path) -> Iterator[Registry]:
    """A registry there, with a few entries."""
    with adsum.open(path=small / "registry", timeout=10) as opened:
        for number in range(20):
            opened.register(f"early-{number}", custom={"x": "y" * 1000})
        yield opened


def fill(place: Path) -> Path:
    """Use up every page that is left."""
    filler = place / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return filler


def crowd(registry: Registry) -> None:
    """Register until something gives."""
    for number in range(2000):
        registry.register(f"late-{number}", custom={"x": "y" * 2000})


def test_no_room_to_begin(small: Path) -> None:
    """A registry that cannot be made for want of space is an error that says so, and is made when there is room."""
    filler = fill(small)
    with adsum.open(path=small / "registry", timeout=5) as registry:
        assert registry.find() == []
        with pytest.raises(RegistryFull, match=str(small)):
            registry.register("first")
        filler.unlink()
        registry.register("first")
        assert registry.audit() == []


@pytest.mark.parametrize("room", [4096 * pages for pages in (1, 66, 70, 75, 80, 85, 90)])
def test_too_little_room_to_begin(room: int, small: Path) -> None:
    """However little is missing, a registry that cannot be made says so, and is sound if it can."""
    filler = fill(small)
    os.truncate(filler, filler.stat().st_size - room)
    with adsum.open(path=small / "registry", timeout=5) as registry:
        try:
            registry.register("first")
        except RegistryFull:
            assert registry.find() == []
        filler.unlink()
        registry.get_or_register("first")
        assert len(registry) == 1
        assert registry.audit() == []


def test_a_full_file_system(crowded: Registry, small: Path) -> None:
    """Where no page is left a registration is refused and changes nothing, and reads go on; with room it succeeds."""
    pid = registrar_pid(crowded.folder)
    filler = fill(small)
    with pytest.raises(RegistryFull, match="tmpfs"):
        crowd(crowded)
    stood = crowded.find()
    assert len(stood) == crowded.count()
    assert crowded.audit() == []
    with pytest.raises(RegistryFull):
        crowded.register("one more", custom={"x": "y" * 20000})
    assert crowded.find() == stood

    filler.unlink()
    crowded.register("one more", custom={"x": "y" * 20000})
    assert len(crowded) == len(stood) + 1
    assert crowded.audit() == []
    assert registrar_pid(crowded.folder) == pid


def test_filled_by_the_registry_itself(crowded: Registry, small: Path) -> None:
    """Entries may fill the file system before the memory limit bites: it is said, and mended by room."""
    ballast = small / "ballast"
    ballast.write_bytes(bytes(256 * 1024))
    with pytest.raises(RegistryFull):
        crowd(crowded)
    late = [entry.process_id for entry in crowded.find() if entry.process_id.local_id.startswith("late")]
    assert late
    assert crowded.audit() == []
    ballast.unlink()
    assert [crowded.unregister(one) for one in late] == [True] * len(late)
    assert len(crowded) == 20
    assert crowded.audit() == []


def test_a_death_while_full(crowded: Registry, small: Path) -> None:
    """An owner that dies while nothing can be written is not handed out, and is removed as soon as there is room."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        crowded.register_many([(f"doomed-{number}", {}) for number in range(50)], process)
        filler = fill(small)
        with pytest.raises(RegistryFull):
            crowd(crowded)
        before = crowded.count() - 50
        process.kill()
    assert crowded.count() == before
    assert crowded.lookup("doomed-1") is None
    filler.unlink()
    eventually(lambda: crowded.stats().entries == before)
    assert crowded.audit() == []


def test_a_registrar_starts_while_full(crowded: Registry, small: Path) -> None:
    """A registrar that is killed while the file system is full is followed by one that serves when there is room."""
    filler = fill(small)
    kill_registrar(crowded.folder)
    assert len(crowded) == 20
    with contextlib.suppress(RegistryFull):
        crowded.update_health("early-1", "degraded", timeout=5)
    filler.unlink()
    assert crowded.update_health("early-1", "unhealthy").metadata.health_status == "unhealthy"
    assert len(crowded) == 20
    assert crowded.audit() == []
