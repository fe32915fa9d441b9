"""A registrar takes over nothing of its starter that would harm the processes that it serves."""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

import pytest

import adsum
from adsum import RegistrarUnavailable, Registry, RegistryFull

from ..support import Child, kill_registrar, registrar_pid
from .test_unharmed_by_its_starter import served

# Soft limits that would stop a registrar sooner or later; a starter under them can still start one.
SOFT = {
    resource.RLIMIT_AS: 4 << 30,
    resource.RLIMIT_CPU: 1000,
    resource.RLIMIT_DATA: 1 << 30,
    resource.RLIMIT_FSIZE: 64 << 10,
    resource.RLIMIT_MEMLOCK: 0,
    resource.RLIMIT_NOFILE: 64,
    resource.RLIMIT_STACK: 1 << 20,
}


def start_under_everything(folder: str) -> None:
    """In a child: set all that a process can set for itself and its children, start a registrar, and wait."""
    for number, value in SOFT.items():
        resource.setrlimit(number, (value, resource.getrlimit(number)[1]))
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    os.nice(5)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    Path("/proc/self/oom_score_adj").write_text("500")
    os.umask(0)
    with adsum.open(path=folder, timeout=10) as registry:
        registry.register("starter")
        print("started", flush=True)
        sys.stdin.readline()


VARIABLES = {
    "PYTHONSTARTUP": "/no/such/file",
    "PYTHONDEVMODE": "1",
    "PYTHONFAULTHANDLER": "1",
    "PYTHONMALLOC": "debug",
    "COVERAGE_PROCESS_START": "/no/such/file",
    "LD_PRELOAD": "",
    "MALLOC_ARENA_MAX": "1",
    "SECRET_TOKEN": "a secret",
}


def test_a_starter_with_everything_that_harms(registry_folder: Path) -> None:
    """Its registrar has no limit below the hard one, no signal blocked or ignored, every CPU, the usual policy, nice
    value and OOM score, and no variable of its environment. What it has no privilege to drop is in its log."""
    with Child(start_under_everything, registry_folder, env=VARIABLES) as child:
        child.expect("started")
        pid = registrar_pid(registry_folder)
        assert pid is not None
        kept = (registry_folder / "registrar.log").read_text()
        limits = {number: resource.prlimit(pid, number) for number in SOFT}
        assert [number for number, (soft, hard) in limits.items() if soft != hard] == []
        fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert int(fields["SigBlk"], 16) == 0
        ignored = {number for number in signal.valid_signals() if int(fields["SigIgn"], 16) >> (number - 1) & 1}
        assert ignored == {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP}
        assert os.sched_getaffinity(pid) == os.sched_getaffinity(0)
        assert os.sched_getscheduler(pid) == os.SCHED_OTHER
        assert os.getpriority(os.PRIO_PROCESS, pid) == 0 or "the starter's nice value of 5 stays" in kept
        score = Path(f"/proc/{pid}/oom_score_adj").read_text().strip()
        assert score == "0" or "the starter's oom_score_adj stays" in kept
        environment = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
        assert {entry.partition("=")[0] for entry in environment} & VARIABLES.keys() == set()
        assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[4] == "0", "it has no terminal"


def fill(registry: Registry) -> None:
    for number in range(200):
        registry.register(f"{number}", custom={"x": "y" * 2000})


def start_under_hard_limit(folder: str) -> None:
    """In a child: forbid itself to write large files, for good, and try to start a registrar."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (128 << 10, 128 << 10))
    with adsum.open(path=folder, timeout=10) as registry:
        try:
            registry.register("job")
            print("registered", flush=True)
        except RegistrarUnavailable as error:
            print(error, flush=True)


def test_a_hard_limit_on_files(registry: Registry, registry_folder: Path) -> None:
    """A starter whose registrar could not let the tables grow gets an error; other processes start one of their own,
    and nothing is lost. With the privilege to lift the limit, its registrar serves."""
    registry.register("before", custom={"x": "y" * 2000})
    kill_registrar(registry_folder)
    with Child(start_under_hard_limit, registry_folder) as child:
        said = child.line()
        assert said == "registered" or ("ulimit -f" in said and "adsum registrar" in said)
        child.wait()
    fill(registry)
    assert len(registry) >= 201
    assert registry.audit() == []


def test_a_limit_that_comes_later(registry: Registry, registry_folder: Path) -> None:
    """Where the registrar itself may not write past a size any more, the registry is full, not damaged."""
    registry.register("before")
    resource.prlimit(served(registry_folder), resource.RLIMIT_FSIZE, (4096, 4096))
    with pytest.raises(RegistryFull, match="ulimit -f") as raised:
        fill(registry)
    assert "remove the folder" not in str(raised.value)
    assert registry.lookup("before") is not None
    kill_registrar(registry_folder)
    registry.register("after")
