"""A registry on a volume, and the containers that use it one after another or at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import adsum
from tests.support import kill_registrar, registrar_pid
from tests.support.children import ROOT

from .namespace import unshare_command


@contextmanager
def container(folder: Path, code: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs `code` with `registry` open, in a PID namespace of its own, and then waits for its input to
    end."""
    opened = f"import adsum, sys; registry = adsum.open(path={str(folder)!r}, timeout=10)"
    program = [*unshare_command(), sys.executable, "-c", f"{opened}\n{code}\nsys.stdout.flush()\nsys.stdin.read()"]
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(program, text=True, env={**os.environ, "PYTHONPATH": path}, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.stdin.close()
            process.wait(30)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


REGISTER = "print(registry.register('a').entry.incarnation, len(registry))"


def test_a_container_that_starts_again(registry_folder: Path) -> None:
    """A container that starts again on its volume begins anew: the PID namespace of the earlier one is gone. Its number
    may be that of another namespace by then, or be given to no other."""
    with container(registry_folder, REGISTER) as first:
        assert line(first) == "1 1"
        # While this descriptor is open, the kernel gives the number of the namespace to no other.
        keeps_number = os.open(f"/proc/{first.pid}/ns/pid_for_children", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with container(registry_folder, REGISTER) as second:
            assert line(second) == "1 1"
    finally:
        os.close(keeps_number)


def test_a_container_beside_a_living_one(registry_folder: Path) -> None:
    """A process of another PID namespace is refused for as long as a process of the first one uses the registry, with
    or without a registrar."""
    with adsum.open(path=registry_folder, timeout=10) as registry:
        registry.register("a")
        for end in (registrar_pid, kill_registrar):
            end(registry_folder)
            with container(registry_folder, "") as other:
                assert "another PID namespace" in "".join(other.stdout or ())
        assert "a" in registry


def test_one_number_for_two_namespaces(registry_folder: Path) -> None:
    """Where the new namespace has the number of the one that is gone, no entry of a dead process is found."""
    for _ in range(3):
        with container(registry_folder, "print(registry.lookup('a'), registry.register('a').entry.pid)") as one:
            assert line(one) == "None 1"
