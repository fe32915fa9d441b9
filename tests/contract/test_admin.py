"""`adsum.admin`: the functions that tools for operators call."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import Registry, admin
from tests.support import registrar_pid, stopped


def test_there_is_no_header_before_the_registry(registry_folder: Path) -> None:
    """Without a registry, `adsum.admin` finds no page header, no registrar to stop, and no answer to a ping."""
    assert admin.page_header(registry_folder) is None
    assert not admin.stop_registrar(registry_folder)
    with pytest.raises(FileNotFoundError):
        admin.ping(registry_folder)


def test_the_header_describes_the_registrar(registry: Registry) -> None:
    """The page header names the registrar's process and the kernel that it runs on."""
    registry.register("a")
    header = admin.page_header(registry.folder)
    assert header is not None
    assert header.registrar.pid == registrar_pid(registry.folder)
    assert header.format > 0
    assert header.restarts == 0
    assert header.pid_namespace == admin.pid_namespace()
    assert header.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_a_stopped_registrar_does_not_answer(registry: Registry) -> None:
    """A ping of a registrar that is stopped by a signal times out."""
    registry.register("a")
    pid = registry.stats().registrar_pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError):
            admin.ping(registry.folder, 0.1)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_registrar_that_was_stopped_has_ended(registry: Registry) -> None:
    """When `stop_registrar` returns, no process holds the registrar's lock, and none writes into the folder."""
    for _ in range(20):
        registry.update_health(registry.register("a").process_id, "degraded")
        assert admin.stop_registrar(registry.folder)
        assert registrar_pid(registry.folder) is None
        assert not admin.stop_registrar(registry.folder)
        registry.unregister("a")


def test_a_registrar_that_does_not_end_is_an_error(registry: Registry) -> None:
    """Where the registrar does not end in time, `stop_registrar` raises `Timeout`, which names it and the remedy."""
    registry.register("a")
    with stopped(registry.folder) as pid, pytest.raises(adsum.Timeout, match=rf"pid {pid}\).*kill -CONT"):
        admin.stop_registrar(registry.folder, 0.1)


def test_a_registrar_that_is_starting_is_waited_for(registry_folder: Path) -> None:
    """`stop_registrar` also waits for a registrar that has the lock and does not serve yet."""
    admin.create_folder(registry_folder)
    with (
        open(registry_folder / "lock", "wb") as lock,
        ThreadPoolExecutor(1) as pool,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        stopping = pool.submit(admin.stop_registrar, registry_folder, 10)
        with pytest.raises(TimeoutError):
            stopping.result(0.05)
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert stopping.result(10)


def test_the_module_is_an_attribute_of_the_package() -> None:
    """`adsum.admin` needs no import of its own."""
    subprocess.run([sys.executable, "-c", "import adsum; adsum.admin.registry_folder()"], check=True)


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), -1, 1e10, "soon", True])
def test_impossible_timeouts_are_refused(registry: Registry, timeout: Any) -> None:
    """With advice, and before anything is done: the registrar goes on."""
    entry = registry.register("a").entry
    serving = registrar_pid(registry.folder)
    for call in (
        lambda: admin.ping(registry.folder, timeout),
        lambda: admin.report_exit(registry.folder, entry.owner, 0, timeout),
        lambda: admin.start_registrar(registry.folder, adsum.Limits(), timeout),
        lambda: admin.stop_registrar(registry.folder, timeout),
        lambda: admin.replace_registrar(registry.folder, None, timeout),
    ):
        with pytest.raises(ValueError, match="give seconds from 0 to 1e9"):
            call()
    assert registrar_pid(registry.folder) == serving
