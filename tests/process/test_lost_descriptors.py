"""A program that becomes a daemon closes every descriptor that it finds. The registry opens its own anew, and neither
uses nor closes the files that have got their numbers."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import subprocess
import sys
import termios
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import adsum
from adsum import Registry, Timeout
from adsum._client import bell
from adsum._client.connection import Connection
from adsum._os.descriptors import Descriptor, Wakeup, note, numbers_kept

from ..support import Child, eventually, stopped

_KINDS = ("file", "socket", "eventfd", "epoll", "pipe")


def _strangers() -> dict[int, tuple[int, int]]:
    """Take every free number below 100 with files of all kinds, and give the identity of each."""
    import itertools
    import select
    import socket

    kept = []
    for kind in itertools.cycle(_KINDS):
        opened = {
            "file": lambda: os.open("/dev/null", os.O_RDWR),
            "socket": lambda: socket.socket().detach(),
            "eventfd": lambda: os.eventfd(0),
            "epoll": lambda: _leaked_epoll(select.epoll()),
            "pipe": lambda: os.memfd_create("stranger"),
        }[kind]()
        if opened >= 100:
            os.close(opened)
            break
        kept.append(opened)
    return {number: note(number).file for number in kept}


_epolls: list[object] = []


def _leaked_epoll(epoll: object) -> int:
    _epolls.append(epoll)
    return int(epoll.fileno())  # type: ignore[attr-defined]


def _everything(registry: adsum.Registry, suffix: str) -> None:
    """Use each part of a registry that has descriptors."""
    over = threading.Event()
    mine = threading.Thread(target=over.wait)
    mine.start()
    registry.register(f"me-{suffix}")
    registry.register_nowait(f"nowait-{suffix}").result(60)
    with registry.watch() as watch:
        registry.register(f"thread-{suffix}", mine)
        watch.next(60)
    assert registry.lookup(f"me-{suffix}")
    assert len(registry.find()) == registry.count()
    over.set()
    mine.join()
    assert registry.lookup(f"thread-{suffix}") is None


def _close_and_go_on(folder: str, how: str) -> None:
    registry = adsum.open(path=folder, timeout=60)
    watch = registry.watch()
    _everything(registry, "before")
    watch.next(60)
    if how == "daemon":
        if os.fork():
            os._exit(0)
        os.setsid()
        if os.fork():
            os._exit(0)
    os.closerange(3, 1024)
    strangers = _strangers() if how != "closed" else {}
    _everything(registry, "after")
    watch.next(60)
    watch.close()
    registry.close()
    with adsum.open(path=folder, timeout=60) as again:
        _everything(again, "again")
    print([number for number, file in strangers.items() if not Descriptor(number, file).is_ours()], flush=True)


@pytest.mark.parametrize("how", ["closed", "reused", "daemon"])
def test_a_registry_goes_on(registry_folder: Path, how: str) -> None:
    """Every call works after the program has closed all descriptors, whether their numbers were reused or not, in the
    same process or in a daemon; the files that have the numbers stay open and unchanged."""
    with Child(_close_and_go_on, registry_folder, how) as child:
        child.expect("[]", 100)


def _daemon_with_a_loop(folder: str) -> None:
    registry = adsum.open(path=folder, timeout=60)
    registry.find()
    if os.fork():
        os._exit(0)
    os.closerange(3, 1024)

    async def use() -> None:
        # The loop has an epoll of its own, which is readable, under a number that was the registry's.
        reading, writing = os.pipe()
        asyncio.get_running_loop().add_reader(reading, lambda: None)
        os.write(writing, b".")
        async with adsum.open_async(path=folder, timeout=60) as other:
            await other.register("daemon")
            print(len(registry.find()), registry.lookup("daemon") is not None, flush=True)

    asyncio.run(use())


def test_a_daemon_with_an_event_loop(registry_folder: Path) -> None:
    """Reads of a daemon return although the event loop's epoll has a number that was the registry's."""
    with Child(_daemon_with_a_loop, registry_folder) as child:
        child.expect("1 True", 100)


@pytest.mark.parametrize("other", ["file", "pipe"])
def test_a_call_under_way_whose_descriptor_is_closed(other: str, registry: Registry, registry_folder: Path) -> None:
    """Where the program closes the descriptor of a connection that waits for a reply, and another file gets its number,
    one that is readable at once, or one that never is: the call ends soon, and is carried out once at most."""
    registry.register("a")
    registry.update("a", custom={"n": 0})
    ends: list[object] = []

    def add() -> None:
        try:
            ends.append(registry.update("a", add={"custom.n": 1}, timeout=60))
        except Timeout as error:
            ends.append(error)

    call = threading.Thread(target=add)
    reader, writer = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    with stopped(registry_folder):
        call.start()
        (channel,) = registry._client.pool._made
        connection = channel._connection
        assert connection is not None
        number = connection.sock.fileno()
        eventually(lambda: _has_sent(number))
        file = note(os.dup2(null if other == "file" else reader, number)).file
    call.join(30)
    (end,) = ends
    assert isinstance(end, Timeout)
    assert "may have been carried out" in str(end)
    assert note(number).file == file
    before = registry["a"].custom["n"]
    assert before in (0, 1)
    assert registry.update("a", add={"custom.n": 1}).custom["n"] == before + 1
    for one in (reader, writer, null, number):
        os.close(one)


def test_a_watch_whose_descriptor_is_closed_while_it_begins(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking for the bell changes nothing, so it is asked for again over another connection."""
    request = bell._request_bell
    lost: list[Descriptor] = []

    def lose_the_first(connection: Connection, until: float) -> int:
        if not lost:
            with open(os.devnull, "wb") as null:
                lost.append(note(os.dup2(null.fileno(), connection.sock.fileno())))
        return request(connection, until)

    monkeypatch.setattr(bell, "_request_bell", lose_the_first)
    registry.register("a")
    with registry.watch() as watch:
        with pytest.raises(Timeout, match="no event came"):
            watch.next(0.2)
        registry.register("b")
        assert watch.next(10).kind is adsum.Kind.registered
    assert lost[0].is_ours()
    os.close(lost[0].number)


def _has_sent(number: int) -> bool:
    """Whether bytes were sent over a socket that its peer has not read (SIOCOUTQ, unix(7))."""
    return fcntl.ioctl(number, termios.TIOCOUTQ, bytes(4)) != bytes(4)


def test_a_number_that_is_no_longer_ours_is_left_alone() -> None:
    """A descriptor is closed only while its number refers to the file that was noted."""
    wakeup = Wakeup()
    number = wakeup.fileno()
    with open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), number)
    wakeup.ring()
    wakeup.clear()
    wakeup.close()
    file = note(number).file
    with numbers_kept([Descriptor(number, (0, 0))]):
        os.close(number)
    assert note(number).file == file
    os.close(number)
    with numbers_kept([Descriptor(number, (0, 0))]):
        pass


def test_a_file_of_the_program_is_kept_on_no_number_that_is_to_be_closed() -> None:
    """A library closes two numbers, of which the program has one by now: its file is there afterwards."""
    with open(os.devnull, "wb") as first, open(os.devnull, "wb") as second:
        numbers = sorted([first.fileno(), second.fileno()])
        os.close(numbers[0])
        file = note(numbers[1]).file
        with numbers_kept([Descriptor(number, (0, 0)) for number in numbers]):
            for number in numbers:
                with contextlib.suppress(OSError):
                    os.close(number)
        assert note(numbers[1]).file == file
        # So that the files close their own numbers.
        assert os.dup2(numbers[1], numbers[0]) == numbers[0]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_descriptors_that_are_closed_while_a_file_is_mapped(moment: str, tmp_path: Path) -> None:
    """Another thread closes every descriptor, and opens files of its own, just before or after the file is mapped: it
    is mapped in the end, and those files are left alone."""
    code = f"from tests.process.test_lost_descriptors import _map_in_between as run; run({moment!r}, {str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], check=True)


def _map_in_between(moment: str, folder: str) -> None:
    import gc
    import mmap

    from adsum._os import mapped_file

    path, other = Path(folder, "words"), Path(folder, "other")
    mapped_file.create_mapped(path, 4096).words[0] = 7
    other.write_bytes(b"program!" * 512)
    own: list[Descriptor] = []

    target: Any = mapped_file

    def race(number: int, size: int, **options: Any) -> mmap.mmap:
        target.mmap = mmap
        mapping = mmap.mmap(number, size, **options) if moment == "after" else None
        last = max(map(int, os.listdir("/proc/self/fd")))
        os.closerange(number, last + 1)
        own.extend(note(os.open(other, os.O_RDWR)) for _ in range(number, last + 1))
        return mapping or mmap.mmap(number, size, **options)

    target.mmap = SimpleNamespace(ACCESS_READ=mmap.ACCESS_READ, mmap=race)
    mapped = mapped_file.open_mapped(path, lambda file: file.st_size)
    assert mapped is not None
    assert mapped.words[0] == 7
    del mapped
    gc.collect()
    assert own
    assert all(one.is_ours() for one in own), own
    assert {os.lseek(one.number, 0, os.SEEK_CUR) for one in own} == {0}


def _inherited(folder: str) -> None:
    """Print the descriptors that a program executed by this one inherits."""
    import subprocess

    registry = adsum.open(path=folder, timeout=10)
    _everything(registry, "before")
    listing = ["sh", "-c", "for f in /proc/self/fd/*; do readlink $f; done | grep -c -e .mdb -e anon_inode -e socket:"]
    print(subprocess.run(listing, close_fds=False, capture_output=True, text=True, check=False).stdout.strip())


def test_no_descriptor_is_inherited(registry_folder: Path) -> None:
    """A program that this process executes inherits no descriptor of the registry's, the files of LMDB included."""
    with Child(_inherited, registry_folder) as child:
        eventually(lambda: True)
        child.expect("0", 60)
