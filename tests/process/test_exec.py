"""`exec` in a registered process: the kernel keeps the process, so its entry stays; the entries of the old program's
threads end."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import adsum
from adsum import Entry, Registry

from ..support import Child, eventually
from .people import gone_from_tables, no_registrar

_AFTERWARDS = "import sys; print('another program', flush=True); sys.stdin.read()"


def _register_and_exec(folder: str) -> None:
    registry = adsum.open(path=folder, timeout=10)
    registry.register("process", capabilities={"of the process"})
    registry.register("thread", threading.current_thread())
    print("registered")
    input()
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", _AFTERWARDS])


@pytest.fixture
def program(registry_folder: Path) -> Iterator[Child]:
    """A process that registered itself and a thread, and execs another program on request."""
    with Child(_register_and_exec, registry_folder) as child:
        child.expect("registered")
        yield child


def test_the_entry_of_the_process_stays(registry: Registry, program: Child) -> None:
    """A process keeps its entry through `exec`, unchanged, until it dies."""
    before: Entry = registry["process"]
    program.say()
    program.expect("another program")
    eventually(lambda: registry.stats().entries == 1)
    assert registry["process"] == before
    assert before.pid == program.pid
    assert program.finish() == 0
    gone_from_tables(registry)


def test_the_entries_of_its_threads_end(registry: Registry, program: Child) -> None:
    """The entry of a thread ends with `exec`, which ends the thread."""
    assert registry.lookup("thread")
    program.say()
    eventually(lambda: registry.lookup("thread") is None)
    program.expect("another program")
    assert registry.departures()[0].how == "unregistered"


def test_the_entries_of_its_threads_end_while_no_registrar_runs(
    registry: Registry, registry_folder: Path, program: Child
) -> None:
    """The entry of a thread that `exec` has ended is removed even if no registrar ran at that time."""
    with no_registrar(registry_folder):
        program.say()
        program.expect("another program")
    registry.register("starts a registrar")
    eventually(lambda: registry.lookup("thread") is None)
    assert registry.lookup("process")


def _register_exec_and_register(folder: str, *again: str) -> None:
    with adsum.open(path=folder, timeout=10) as registry:
        if not again:
            registry.register("process")
            code = f"from {__name__} import _register_exec_and_register as run; run({folder!r}, 'again')"
            os.execv(sys.executable, [sys.executable, "-u", "-c", code])
        try:
            registry.register("process")
        except adsum.AlreadyRegistered as error:
            print(error)
        print(registry.register("process", replace=True).entry.incarnation > 1)
        sys.stdin.read()


def test_a_program_that_executes_itself_again(registry: Registry) -> None:
    """It holds the name that it registered before the exec; the error says how to take it over, and that works."""
    with Child(_register_exec_and_register, registry.folder) as child:
        message = child.line()
        assert "this very process" in message
        assert "replace=True" in message
        child.expect("True")
        assert registry["process"].pid == child.pid
