"""There is one registrar, however many start at the same moment and whatever files are in its place."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

import adsum
from adsum import CorruptRegistry, Limits, RegistrarUnavailable, Registry
from adsum._client import launch, spawn

from ..support import Child, end_registrar, eventually, kill_registrar, registrar_pid, remove_folder

PROCESSES = 20


def registrars(folder: Path) -> list[int]:
    """Every process that was started as a registrar of `folder`, by its command line."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
        except OSError:
            # It ended while the list was read.
            continue
        if os.fsencode(folder) in command and any(b"adsum._registrar" in word for word in command):
            found.append(int(name))
    return found


def register_on_word(folder: str, name: str) -> None:
    """In a child: be ready, wait for the word, open and register, say so, and stay."""
    print("ready")
    input()
    with adsum.open(path=folder, timeout=30) as registry:
        registry.register(name)
        print("registered")
        input()


def test_many_that_start_at_once_get_one_registrar(registry: Registry, registry_folder: Path) -> None:
    """Twenty processes that need the first registrar at the same instant share one, and all succeed."""
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(Child(register_on_word, registry_folder, f"{number:02}")) for number in range(PROCESSES)
        ]
        for child in children:
            child.expect("ready", within=60)
        for child in children:
            child.say()
        for child in children:
            child.expect("registered", within=60)
        assert registry.count() == PROCESSES
        assert registry.stats().revision == PROCESSES
        assert registry.stats().restarts == 0
        eventually(lambda: registrars(registry_folder) == [registrar_pid(registry_folder)])


@pytest.mark.parametrize("killed", [True, False], ids=["registrar killed", "no registrar yet"])
@pytest.mark.parametrize("place", ["plain file", "dangling link", "directory", "directory with a file"])
def test_another_file_instead_of_the_socket(
    place: str, killed: bool, registry: Registry, registry_folder: Path
) -> None:
    """Whatever lies where the socket should be, a registrar takes its place or says what is in the way."""
    if killed:
        registry.register("first")
        kill_registrar(registry_folder)
        (registry_folder / "socket").unlink()
    else:
        registry_folder.mkdir(mode=0o700)
    if place == "plain file":
        (registry_folder / "socket").write_text("not a socket")
    elif place == "dangling link":
        (registry_folder / "socket").symlink_to(registry_folder / "nowhere")
    else:
        (registry_folder / "socket").mkdir()
    if place == "directory with a file":
        (registry_folder / "socket" / "file").touch()
    try:
        registry.register("second", timeout=5)
    except (RegistrarUnavailable, CorruptRegistry) as error:
        said = str(error)
    else:
        said = f"registered beside the socket by {registry['second'].pid}"
    assert "socket" in said


def test_a_socket_left_by_a_killed_registrar(registry: Registry, registry_folder: Path) -> None:
    """The socket that a killed registrar leaves is replaced by the next one's."""
    registry.register("first")
    kill_registrar(registry_folder)
    assert (registry_folder / "socket").is_socket()
    with adsum.open(path=registry_folder, timeout=10) as other:
        other.register("second")
        assert len(other) == 2


def test_a_socket_removed_under_its_registrar(registry: Registry, registry_folder: Path) -> None:
    """When the socket is removed while the registrar runs, newcomers are served all the same."""
    registry.register("first")
    (registry_folder / "socket").unlink()
    with adsum.open(path=registry_folder, timeout=10) as other:
        other.register("second")
        assert len(other) == 2
    registry.register("third")
    assert len(registry) == 3


def test_a_lock_file_removed_under_its_registrar(registry: Registry, registry_folder: Path) -> None:
    """When the lock file is removed there is one registrar in the end, no entry is lost, and all writes are seen."""
    registry.register("first")
    pid = registry.stats().registrar_pid
    (registry_folder / "lock").unlink()
    eventually(lambda: registrar_pid(registry_folder) is None and pid not in registrars(registry_folder))
    with adsum.open(path=registry_folder, timeout=10) as other:
        other.register("second")
        assert other.lookup("second")
        assert registry.lookup("second")
        assert registry.lookup("first")
    eventually(lambda: registrars(registry_folder) == [registrar_pid(registry_folder)])
    assert registry.audit() == []


def test_a_lock_file_and_socket_removed_under_their_registrar(registry: Registry, registry_folder: Path) -> None:
    """Where lock and socket are removed, and so a second registrar can start, every write is seen by every reader."""
    registry.register("first")
    pid = registry.stats().registrar_pid
    (registry_folder / "lock").unlink()
    (registry_folder / "socket").unlink()
    with adsum.open(path=registry_folder, timeout=10) as other:
        other.register("second")
        eventually(lambda: pid not in registrars(registry_folder))
        other.register("third")
        assert other.lookup("third")
        assert registry.lookup("third")
    eventually(lambda: registrars(registry_folder) == [registrar_pid(registry_folder)])
    assert registry.audit() == []


def test_a_folder_removed_under_its_registrar(registry: Registry, registry_folder: Path) -> None:
    """When the folder is removed its registrar leaves, and clients that had it open find the new registry, in which
    their members are registered anew."""
    registry.register("first")
    pid = registry.stats().registrar_pid
    registry_folder.rename(registry_folder.with_name("removed"))
    with adsum.open(path=registry_folder, timeout=10) as other:
        other.register("second")
        eventually(lambda: pid not in registrars(registry_folder))
        registry.register("third")
        eventually(lambda: sorted(entry.process_id.local_id for entry in other.find()) == ["first", "second", "third"])
        assert registry.find() == other.find()


def test_a_folder_removed_while_its_registrar_starts(registry_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A removed folder is not made again in the background; the next client that needs a registrar makes it."""
    needed = launch.package_folders

    def removed_meanwhile() -> list[str]:
        shutil.rmtree(registry_folder)
        return needed()

    with monkeypatch.context() as patch:
        patch.setattr(launch, "package_folders", removed_meanwhile)
        spawn.start_registrar(registry_folder, launch.Launch(Limits()), time.monotonic() + 10)
    assert not registry_folder.exists()
    with adsum.open(path=registry_folder) as registry:
        registry.register("a")
        assert registry.lookup("a") is not None


def test_a_granted_standby_is_registered_anew(registry: Registry, registry_folder: Path) -> None:
    """The entry of a standby that was granted its id is one of the process's own when the folder is gone."""
    granted = registry.stand_by("a").result(10)
    before = granted.entry
    remove_folder(registry_folder)
    eventually(lambda: granted.entry is not before)
    assert registry["a"] == granted.entry


def test_a_page_removed_under_its_registrar(registry: Registry, registry_folder: Path) -> None:
    """An acknowledged change is seen by every client that opens the folder afterwards, also if its page was removed."""
    registry.register("first")
    (registry_folder / "page").unlink()
    with adsum.open(path=registry_folder, timeout=10) as other:
        for number in range(5):
            other.register(f"later-{number}")
            assert other.lookup(f"later-{number}") is not None
            assert registry.lookup(f"later-{number}") is not None


def test_the_last_to_leave(registry_folder: Path) -> None:
    """A registrar with no client and no entry leaves after `linger`, and takes its socket away."""
    with adsum.open(path=registry_folder, timeout=10, limits=adsum.Limits(linger=0.2)) as registry:
        registry.register("gone").unregister()
        assert registrar_pid(registry_folder) is not None
    eventually(lambda: registrar_pid(registry_folder) is None)
    assert not (registry_folder / "socket").exists()


def test_a_registrar_that_does_not_linger(registry_folder: Path) -> None:
    """A registrar that does not linger at all serves the client that started it, and leaves after it."""
    for _ in range(3):
        with adsum.open(path=registry_folder, timeout=10, limits=adsum.Limits(linger=0)) as registry:
            assert registry.register("gone").unregister()
            pid = registrar_pid(registry_folder)
        eventually(lambda pid=pid: registrar_pid(registry_folder) != pid)  # type: ignore[misc]


def test_a_registrar_stays_while_an_entry_lives(registry_folder: Path) -> None:
    """A registrar whose clients have all gone stays for as long as a registered process lives, and then leaves."""
    with Child("input()") as child:
        with adsum.open(path=registry_folder, timeout=10, limits=adsum.Limits(linger=0.2)) as registry:
            registry.register("alive", child.process)
            pid = registrar_pid(registry_folder)
        # Its turn of a second passes several times the linger, more than once.
        with pytest.raises(AssertionError):
            eventually(lambda: registrar_pid(registry_folder) != pid, within=2.5)
        child.kill()
    eventually(lambda: registrar_pid(registry_folder) is None)


def test_a_request_at_the_moment_of_leaving(registry_folder: Path) -> None:
    """A request that comes while the registrar is leaving is served by the next one."""
    limits = adsum.Limits(linger=0.05)
    for number in range(3):
        with adsum.open(path=registry_folder, timeout=10, limits=limits) as registry:
            registry.register("gone").unregister()
        # The socket goes first: from here to the release of the lock no registrar serves, and no other can start.
        eventually(lambda: not (registry_folder / "socket").exists(), every=0)
        with adsum.open(path=registry_folder, timeout=10, limits=limits) as registry:
            made = registry.register("here").entry
            assert made.revision == 4 * number + 3
            assert registry["here"] == made
            registry.unregister("here")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_users_go_on_when_the_registrar_is_ended(
    number: signal.Signals, registry: Registry, registry_folder: Path
) -> None:
    """Ending the registrar, kindly or not, is nothing its users notice but by a moment's delay."""
    registry.register("counted", custom={"count": 0})
    before = registry.stats().revision
    done: list[int] = []
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            done.append(registry.update_health("counted", "healthy").revision)

    def more(count: int) -> None:
        wanted = len(done) + count
        eventually(lambda: len(done) > wanted)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            more(50)
            assert end_registrar(registry_folder, number) is not None
        more(50)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert sorted(done) == list(range(before + 1, before + 1 + len(done)))
    assert registry.stats().revision == before + len(done)
