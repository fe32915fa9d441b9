"""Processes of other users can be registered by pid, and every reader of the registry detects their deaths."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import adsum
from adsum import Limits, Registry
from adsum._registrar.start import serve

from ..support import eventually
from .people import gone_from_tables, in_fork, sleeper

NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of another user")


def fork(run: Callable[[], object]) -> int:
    """The pid of a forked child that only calls `run`."""
    pid = os.fork()
    if not pid:
        try:
            run()
        finally:
            os._exit(0)
    return pid


def become_nobody() -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


@as_root
def test_a_process_of_another_user(registry: Registry) -> None:
    """A process of another user is registered by its pid, found while it lives, and gone when it dies."""

    def sleep() -> None:
        become_nobody()
        time.sleep(600)

    pid = fork(sleep)
    try:
        eventually(lambda: os.stat(f"/proc/{pid}").st_uid == NOBODY)
        registry.register("theirs", pid, capabilities={"sleeping"})
        assert registry["theirs"].pid == pid
        assert registry.count(capability="sleeping") == 1
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert registry.lookup("theirs") is None
    gone_from_tables(registry)
    os.waitpid(pid, 0)


@pytest.fixture
def nobodys_folder() -> Iterator[Path]:
    """A registry of the user `nobody`, with a registrar of that user too. The user may lack access to this Python, so
    the registrar is a fork of this process."""
    base = Path(tempfile.mkdtemp(prefix="adsum-test-", dir="/dev/shm"))
    os.chown(base, NOBODY, NOBODY)
    folder = base / "registry"

    def be_registrar() -> None:
        become_nobody()
        folder.mkdir(mode=0o700)
        serve(folder, Limits(), ready=lambda: None)

    registrar = fork(be_registrar)
    try:
        eventually((folder / "socket").exists)
        yield folder
    finally:
        os.kill(registrar, signal.SIGKILL)
        os.waitpid(registrar, 0)
        shutil.rmtree(base)


@as_root
def test_a_process_that_the_caller_may_not_touch(nobodys_folder: Path) -> None:
    """A user registers a process that it may not signal, finds it while it lives, and detects its death."""
    with sleeper() as roots:

        def child() -> None:
            become_nobody()
            with pytest.raises(PermissionError):
                os.kill(roots.pid, 0)
            with adsum.open(path=nobodys_folder, timeout=10) as registry:
                registry.register("roots", roots.pid)
                assert registry["roots"].pid == roots.pid

        in_fork(child)

        def after_its_death() -> None:
            become_nobody()
            with adsum.open(path=nobodys_folder, timeout=10) as registry:
                assert registry.lookup("roots") is None
                gone_from_tables(registry)

        roots.kill()
        roots.wait()
        in_fork(after_its_death)


@as_root
def test_a_registry_of_another_user_is_refused(nobodys_folder: Path) -> None:
    """Root may not open another user's registry either: files that root left there would lock the owner out."""
    with pytest.raises(adsum.PermissionDenied):
        adsum.open(path=nobodys_folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may touch every process; the other tests are for root")
def test_the_first_process_of_the_system(registry: Registry) -> None:
    """A user can register process 1, which belongs to root."""
    registry.register("init", 1)
    assert registry["init"].pid == 1
