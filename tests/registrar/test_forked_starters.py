"""A process that forks while one of its threads starts a registrar: nothing of the start stays with the child."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

import adsum
from adsum._client import spawn
from adsum._client.launch import Launch

from ..process.people import unseen_fork
from ..support import end_registrar, eventually
from ..support.processes import open_files


@contextlib.contextmanager
def _living_child(fork: Callable[[], int]) -> Iterator[int]:
    """A child that does nothing but live until the end of the block; its pid."""
    reading, writing = os.pipe()
    if not (child := fork()):
        os.read(reading, 1)
        os._exit(0)
    try:
        yield child
    finally:
        os.write(writing, b".")
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("fork", [os.fork, unseen_fork])
def test_a_fork_in_the_middle_of_a_start(
    registry_folder: Path, monkeypatch: pytest.MonkeyPatch, fork: Callable[[], int]
) -> None:
    """A child that lives on does not keep the lock of the start, so another registrar can be started later."""
    inside, go_on = threading.Event(), threading.Event()
    start = spawn._start

    def slowly(folder: Path, launch: Launch, until: float) -> str | None:
        inside.set()
        go_on.wait()
        return start(folder, launch, until)

    monkeypatch.setattr(spawn, "_start", slowly)
    with adsum.open(path=registry_folder, timeout=10) as registry:
        thread = threading.Thread(target=lambda: registry.register("first"))
        thread.start()
        inside.wait()
        with _living_child(fork) as child:
            if fork is os.fork:
                eventually(lambda: str(registry_folder / "starting") not in open_files(child).values())
            go_on.set()
            thread.join()
            registry.unregister("first")
            end_registrar(registry_folder)
            assert registry.register("second").entry.pid == os.getpid()


def test_a_fork_while_the_process_of_a_registrar_is_made(
    registry_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fork waits: its child would keep the pipe through which `subprocess` waits for the exec, and the start would
    take as long as that child lives."""
    inside, forked = threading.Event(), threading.Event()
    fork_exec = subprocess._fork_exec  # type: ignore[attr-defined]

    def slowly(*arguments: object) -> int:
        inside.set()
        # This times out: the fork waits for the end of this call.
        forked.wait(0.3)
        return cast("int", fork_exec(*arguments))

    monkeypatch.setattr(subprocess, "_fork_exec", slowly)
    with adsum.open(path=registry_folder, timeout=30) as registry:
        thread = threading.Thread(target=lambda: registry.register("first"))
        thread.start()
        inside.wait()
        with _living_child(os.fork):
            forked.set()
            thread.join(20)
            assert not thread.is_alive()
        assert registry["first"].pid == os.getpid()
