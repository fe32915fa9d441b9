"""A process that forks while one of its threads starts a registrar: nothing of the start stays with the child."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import adsum
from adsum._client import spawn
from adsum._client.launch import Launch

from ..process.people import unseen_fork
from ..support import end_registrar, eventually
from ..support.processes import open_files


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
        reading, writing = os.pipe()
        if not (child := fork()):
            os.read(reading, 1)
            os._exit(0)
        try:
            if fork is os.fork:
                eventually(lambda: str(registry_folder / "starting") not in open_files(child).values())
            go_on.set()
            thread.join()
            registry.unregister("first")
            end_registrar(registry_folder)
            assert registry.register("second").entry.pid == os.getpid()
        finally:
            os.write(writing, b".")
            os.waitpid(child, 0)
            os.close(reading)
            os.close(writing)
