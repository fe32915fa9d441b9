"""A separate PID namespace, in which the test chooses the next pid.

A process that may write ``/proc/sys/kernel/ns_last_pid`` decides which pid the kernel assigns next (proc(5)).
In a separate namespace no other process takes that pid first.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ..support.children import ROOT

_LAST_PID = Path("/proc/sys/kernel/ns_last_pid")


def run_in_namespace(function: Callable[..., object], *args: object, within: float = 60) -> None:
    """Run a module-level function, in a fresh interpreter that is the first process of a PID namespace.

    Skips the test if the kernel does not allow such a namespace.
    """
    code = f"import sys; from {function.__module__} import {function.__name__} as run; run(*sys.argv[1:])"
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
    done = subprocess.run(
        [*unshare_command(), sys.executable, "-c", code, *map(str, args)],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@functools.cache
def unshare_command() -> list[str]:
    """The command that runs a program as the first process of a PID namespace. Skips the test where that is refused."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare(1), of util-linux, to make a PID namespace")
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *as_root, "--pid", "--fork", "--kill-child", "--mount-proc"]
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(
            f"a PID namespace needs root, or user namespaces, which this kernel refuses: {tried.stderr.strip()}"
        )
    return command


def in_time_namespace(seconds: int) -> list[str]:
    """The command that runs a program in a time namespace whose monotonic clock is ahead by so many seconds. Skips the
    test where there is none to be had."""
    command = ["unshare", "--time", "--monotonic", str(seconds)]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("a time namespace takes root, unshare(1) of util-linux, and a kernel that has them")
    return command


def start_as(pid: int) -> None:
    """Fork a process that sleeps, with the pid `pid`, which must be free."""
    until = time.monotonic() + 10
    while True:
        _LAST_PID.write_text(str(pid - 1))
        made = os.fork()
        if not made:
            time.sleep(600)
            os._exit(0)
        if made == pid:
            return
        end(made)
        if time.monotonic() > until:
            raise AssertionError(f"the number {pid} is not to be had, only {made}")


def end(pid: int) -> None:
    """Kill a child and reap it, which frees its pid."""
    os.kill(pid, 9)
    os.waitpid(pid, 0)


def wait_a_tick() -> None:
    """Wait two clock ticks. The kernel reports start times in ticks, so starts within one tick look the same."""
    time.sleep(2 / os.sysconf("SC_CLK_TCK"))
