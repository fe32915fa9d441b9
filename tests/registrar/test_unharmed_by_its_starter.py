"""The registrar is started by the first process that needs it, which must not be able to hurt it."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import adsum
from adsum import Registry

from ..support import Child, eventually, registrar_pid
from ..support.processes import open_files
from .watched import private_bytes


def status(pid: int) -> dict[str, str]:
    """``/proc/PID/status`` by field (proc(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def served(folder: Path) -> int:
    """The registrar of `folder`, once it has served a call of this process."""
    with adsum.open(path=folder, timeout=10) as registry:
        registry.get_or_register("asked")
        pid = registry.stats().registrar_pid
    assert pid is not None
    return pid


def start_badly(folder: str) -> None:
    """In a child: be as bad a starter as can be, start a registrar, and wait to be ended."""
    os.umask(0)
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    inherited = os.open("/dev/zero", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    with adsum.open(path=folder, timeout=10) as registry:
        registry.register("starter")
        print("started", flush=True)
        sys.stdin.readline()


def test_what_a_bad_starter_leaves_to_it(registry_folder: Path) -> None:
    """A registrar inherits no descriptor, no signal mask, no ignored signal, no folder and no session."""
    with Child(start_badly, registry_folder, start_new_session=True) as child:
        child.expect("started")
        pid = registrar_pid(registry_folder)
        assert pid is not None
        told = status(pid)
        targets = open_files(pid).values()
        assert int(told["SigBlk"], 16) == 0
        assert not int(told["SigIgn"], 16) & 1 << (signal.SIGTERM - 1)
        assert int(told["SigCgt"], 16) & 1 << (signal.SIGTERM - 1)
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        assert os.getsid(pid) != os.getsid(child.pid)
        assert os.getpgid(pid) != os.getpgid(child.pid)
        assert int(told["PPid"]) != child.pid
        assert told["Name"] == "adsum-registrar"[:15]
    strange = [
        target
        for target in targets
        if not target.startswith((str(registry_folder), "socket:", "anon_inode:", "pidfd:")) and target != "/dev/null"
    ]
    assert strange == []


def test_everything_it_makes_is_private(registry_folder: Path) -> None:
    """Whatever umask it is started with, no other user may read or write anything in the folder."""
    with Child(start_badly, registry_folder) as child:
        child.expect("started")
        found = {path.relative_to(registry_folder): path.lstat().st_mode for path in registry_folder.rglob("*")}
    assert stat.S_IMODE(registry_folder.stat().st_mode) == 0o700
    assert {str(path): oct(mode) for path, mode in found.items() if mode & 0o077} == {}


@pytest.mark.parametrize("how", ["by a client", "adsum registrar"])
def test_compiled_modules_are_for_all_who_can_read_the_sources(registry_folder: Path, tmp_path: Path, how: str) -> None:
    """A registrar that is the first to import adsum leaves modules that other users can load too."""
    shutil.copytree(Path(adsum.__file__).parent, tmp_path / "adsum", ignore=shutil.ignore_patterns("__pycache__"))
    beside = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment = beside | {"PYTHONPATH": str(tmp_path)}
    client = "import sys, adsum; adsum.open(path=sys.argv[1], timeout=10).get_or_register('first')"
    if how == "adsum registrar":
        program = [sys.executable, "-m", "adsum", "registrar", "--path", str(registry_folder), "--foreground"]
        with subprocess.Popen(program, env=environment, stderr=subprocess.DEVNULL) as process:
            eventually(lambda: registrar_pid(registry_folder) is not None)
            subprocess.run([sys.executable, "-c", client, str(registry_folder)], env=environment, check=True)
            process.terminate()
    else:
        subprocess.run([sys.executable, "-c", client, str(registry_folder)], env=environment, check=True)
    compiled = {path.name: path.stat().st_mode for path in tmp_path.rglob("*.pyc")}
    assert any(name.startswith("committer.") for name in compiled)
    assert {name: oct(mode) for name, mode in compiled.items() if not mode & 0o044} == {}


def test_it_loads_nothing_that_it_can_do_without(registry: Registry) -> None:
    """Packages beside adsum cost the registrar no memory: neither typing_extensions, which msgspec would load, nor what
    that loads, nor OpenSSL."""
    pytest.importorskip("typing_extensions")
    registry.register("first")
    pid = registrar_pid(registry.folder)
    loaded = {Path(line.split()[-1]).name for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "/" in line}
    assert any(name.startswith("_core.") for name in loaded), "msgspec"
    assert not [name for name in loaded if name.startswith(("_opcode", "_hashlib", "libcrypto"))]


def test_no_zombie_is_left_with_the_starter(registry: Registry, registry_folder: Path) -> None:
    """A registrar is no child of the process that starts it, and leaves it no zombie."""
    registry.register("first")
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    assert not [pid for pid in children if "adsum" in status(int(pid))["Name"] or status(int(pid))["State"][0] == "Z"]


def test_ctrl_c_in_the_terminal_of_the_starter(registry_folder: Path) -> None:
    """Signals to the starter's process group, as a terminal sends them, do not reach the registrar."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGKILL):
        with Child(start, registry_folder, start_new_session=True) as child:
            child.expect("started")
            pid = registrar_pid(registry_folder)
            os.killpg(child.pid, number)
            child.wait()
        assert registrar_pid(registry_folder) == pid
        assert served(registry_folder) == pid


def start(folder: str) -> None:
    """In a child: start a registrar, and wait to be ended."""
    with adsum.open(path=folder, timeout=10) as registry:
        registry.register("starter")
        print("started", flush=True)
        sys.stdin.readline()


def test_a_terminal_that_hangs_up(registry_folder: Path) -> None:
    """A SIGHUP to the registrar itself changes nothing."""
    pid = served(registry_folder)
    os.kill(pid, signal.SIGHUP)
    assert served(registry_folder) == pid


def test_a_folder_removed_from_under_the_starter(registry_folder: Path) -> None:
    """A starter whose working directory is gone starts a registrar all the same."""
    gone = registry_folder.with_name("gone")
    gone.mkdir()
    with Child(start_from_nowhere, registry_folder, gone) as child:
        child.expect("started")
    assert registrar_pid(registry_folder) == served(registry_folder)


def start_from_nowhere(folder: str, gone: str) -> None:
    """In a child: start a registrar from a working directory that does not exist any more."""
    os.chdir(gone)
    Path(gone).rmdir()
    start(folder)


def test_an_environment_that_misleads(registry_folder: Path) -> None:
    """Variables that change how Python starts are meant for the starter and do not reach the registrar."""
    elsewhere = registry_folder.with_name("elsewhere")
    elsewhere.mkdir()
    (elsewhere / "sitecustomize.py").write_text("import asyncio.events\n")
    code = "import sys; sys.path.pop(0); import adsum; adsum.open(path=sys.argv[1], timeout=10).register('first')"
    environment = {**os.environ, "PYTHONPATH": str(elsewhere), "PYTHONWARNINGS": "error", "PYTHONINSPECT": ""}
    source = str(Path(adsum.__file__).parents[1])
    environment["PYTHONPATH"] += os.pathsep + source
    subprocess.run([sys.executable, "-c", code, str(registry_folder)], env=environment, check=True, timeout=60)
    pid = served(registry_folder)
    command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    assert {b"-I", b"-S"} <= set(command)


def test_a_small_registry_needs_little_memory(registry: Registry, registry_folder: Path) -> None:
    """A registrar of a hundred entries stays under 30 MB, all that it shares with others included."""
    for number in range(100):
        registry.register(f"{number}", capabilities={"work"})
    pid = served(registry_folder)
    peak = int(status(pid)["VmHWM"].split()[0]) * 1024
    assert peak < 30 * 1024 * 1024
    assert private_bytes(pid) < peak


def test_a_starter_with_few_descriptors(registry_folder: Path) -> None:
    """The registrar raises the limit on descriptors that a starter had lowered, as far as it may."""
    with Child(start_with_few_descriptors, registry_folder) as child:
        child.expect("started")
        pid = registrar_pid(registry_folder)
        assert pid is not None
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        assert soft == hard
        eventually(lambda: served(registry_folder) == pid)


def start_with_few_descriptors(folder: str) -> None:
    """In a child: lower the soft limit, and start a registrar."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    start(folder)
