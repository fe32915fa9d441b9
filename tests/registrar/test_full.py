"""The file system under the registry is full: writes say so, reads go on, nothing breaks, and it recovers by itself."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import adsum
from adsum import MetadataKeywords, Registry, RegistryFull

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
    """A registry that cannot be made without space is an error that says so, and is made when there is room."""
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


@pytest.mark.parametrize("size", [0, 3000])
def test_what_frees_room_goes_on_while_full(size: int, crowded: Registry, small: Path) -> None:
    """In a file system that another program filled, the dead are removed, and members unregister and report health."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        data: MetadataKeywords = {"custom": {"x": "y" * size}}
        doomed = [(f"doomed-{number}", data) for number in range(1000 if size == 0 else 150)]
        crowded.register_many(doomed, process)
        fill(small)
        with pytest.raises(RegistryFull):
            crowd(crowded)
        before = crowded.count() - len(doomed)
        for status in ("degraded", "healthy") * 20:
            crowded.update_health("early-1", status)
        process.kill()
    assert crowded.count() == before
    eventually(lambda: crowded.stats().entries == before)
    held = [entry.process_id for entry in crowded.find()]
    assert [crowded.unregister(one) for one in held] == [True] * before
    assert crowded.audit() == []
    # The room that they gave back is in the file.
    crowded.register("new")


def test_a_registrar_starts_while_full_and_removes_the_dead(crowded: Registry, small: Path) -> None:
    """The sweep goes on in a full file system, too."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        crowded.register_many([(f"doomed-{number}", {}) for number in range(500)], process)
        fill(small)
        kill_registrar(crowded.folder)
        process.kill()
    crowded.update_health("early-1", "degraded")
    eventually(lambda: crowded.stats().entries == 20)
    assert crowded.audit() == []


def rests_for(seconds: int, pid: int) -> bool:
    """Whether a process uses little processor and no more memory for so long."""
    ticks, kilobytes = used_by(pid)
    time.sleep(seconds)
    later, kilobytes_later = used_by(pid)
    return (later - ticks) / os.sysconf("SC_CLK_TCK") < seconds / 6 and kilobytes_later - kilobytes < 1000


def test_a_full_registry_rests(crowded: Registry, small: Path) -> None:
    """A registrar that can write nothing uses little processor and no more memory, and cleans up soon after there is
    room: here without a reserve, as where quotas or a hostile program take even that."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        crowded.register_many([(f"doomed-{number}", {}) for number in range(500)], process)
        pid = registrar_pid(crowded.folder)
        assert pid is not None
        with no_room_for(pid):
            process.kill()
            process.wait()
            eventually(lambda: crowded.count() == 20)
            # Not perhaps in the first seconds, in which its first attempts take some memory for good.
            assert any(rests_for(3, pid) for _ in range(4))
        began = time.monotonic()
        eventually(lambda: crowded.stats().entries == 20)
        assert time.monotonic() - began < 5
    assert crowded.audit() == []


@contextlib.contextmanager
def no_room_for(pid: int) -> Iterator[None]:
    """A process whose every write to a file fails (RLIMIT_FSIZE; without SIGXFSZ, EFBIG)."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def used_by(pid: int) -> tuple[int, int]:
    """Ticks of processor and kilobytes of private memory (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    return int(fields[11]) + int(fields[12]), int(status.partition("RssAnon:")[2].split()[0])


@pytest.mark.parametrize(("size", "most"), [(64, 16), (16, 4), (2, 1)])
def test_the_limit_follows_the_file_system(size: int, most: int, registry_folder: Path) -> None:
    """A registry is made with a memory limit that its file system can hold, whatever the defaults are."""
    with small_tmpfs(registry_folder.with_name("small"), size * 1024 * 1024) as place:
        with adsum.open(path=place / "registry", timeout=10) as registry:
            registry.register("first")
            assert registry.stats().bytes_limit == most * 1024 * 1024
        kill_registrar(place / "registry")


def fill_with_members_of(processes: Sequence[subprocess.Popen[bytes]], registry: Registry) -> None:
    """Register entries for these processes, in turn, until something gives."""
    for number in range(10_000):
        process = processes[number % len(processes)]
        registry.register(f"{number}", process, custom={"x": os.urandom(2000).hex()})


def test_a_crowd_in_a_small_file_system_that_dies(registry_folder: Path) -> None:
    """With the default limits in 16 MiB: registrations are refused when it is full, and all of the dead are removed."""
    with small_tmpfs(registry_folder.with_name("small"), 16 * 1024 * 1024) as place:
        with contextlib.ExitStack() as stack, adsum.open(path=place / "registry", timeout=10) as registry:
            crowd = [stack.enter_context(subprocess.Popen(["sleep", "1000"])) for _ in range(4)]
            with pytest.raises(RegistryFull):
                fill_with_members_of(crowd, registry)
            for process in crowd:
                process.kill()
            eventually(lambda: registry.stats().entries == 0)
            registry.register("new")
            assert registry.audit() == []
        kill_registrar(place / "registry")


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
