"""`adsum stats`, `adsum audit` and `adsum doctor`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adsum import Registry
from adsum.cli.doctor import machine
from tests.registrar.mounts import small_tmpfs
from tests.support import Child, eventually, kill_registrar, registrar_pid, stopped

from .command import ADSUM, Command

# Deletes one row of an index. In a process of its own, because a process opens the tables of a registry only once.
_BREAK_AN_INDEX = """
import sys
from pathlib import Path
from adsum._store import page
from adsum._store.environment import open_environment
folder = Path(sys.argv[1])
mapped = page.attach(folder)
environment = open_environment(folder, mapped.generation, mapped.map_size, writable=True)
with environment.lmdb.begin(write=True) as txn:
    txn.delete(b"default\\0planning", db=environment.tables["by_capability"])
environment.close()
"""


def _damage(folder: Path) -> None:
    with Child(_BREAK_AN_INDEX, folder) as child:
        assert child.wait() == 0


def _found(document: Any, check: str) -> Any:
    return next(finding for finding in document["checks"] if finding["check"] == check)


def test_stats_of_a_registry(command: Command, members: Registry) -> None:
    """`stats --json` has the figures of `Registry.stats`."""
    members.register("planner")
    found = command.document("stats")
    assert found["entries"] == found["owners"] == found["revision"] == 1
    assert found["registrar_pid"] == registrar_pid(command.folder)
    assert {*found["cleanup_latency"]} == {"p50", "p99", "max"}


def test_stats_for_people(command: Command, members: Registry) -> None:
    """`stats` prints the folder, the use of the limit, and the registrar."""
    members.register("planner")
    shown = dict(line.split(maxsplit=1) for line in command("stats").out.splitlines())
    assert shown["folder"] == str(command.folder)
    assert shown["entries"] == "1"
    assert shown["memory"].endswith("of 100.0 MiB")
    assert shown["registrar"].startswith(f"pid {registrar_pid(command.folder)}, up ")


def test_stats_of_an_absent_registry(command: Command) -> None:
    """`stats` of an absent registry is all zero, with exit code 1, and creates none."""
    assert command.document("stats")["entries"] == 0
    assert command("stats").code == 1
    assert not command.folder.exists()


def test_audit_of_a_sound_registry(command: Command, members: Registry) -> None:
    """`audit` of consistent tables has exit code 0 and no violations."""
    members.register("planner", capabilities={"planning"})
    assert command("audit").out == f"sound: {command.folder}\n"
    assert command.document("audit") == {"folder": str(command.folder), "violations": []}


def test_audit_names_what_is_violated(command: Command, members: Registry) -> None:
    """Where an index lacks a row, `audit` has exit code 1 and names the invariant, the table and the entry."""
    members.register("planner", capabilities={"planning"})
    _damage(command.folder)
    code, out, _ = command("audit")
    assert code == 1
    assert out.startswith("I2: by_capability lacks the row")
    assert "default/here/planner" in out
    assert len(command.document("audit")["violations"]) == 1


def test_doctor_finds_nothing_wrong(command: Command, members: Registry) -> None:
    """On a healthy registry `doctor` has exit code 0, and every check reports its result."""
    members.register("planner")
    document = command.document("doctor")
    assert document["healthy"]
    assert [finding["check"] for finding in document["checks"]] == [
        "kernel", "pidfd", "identity", "descriptors", "folder", "tmpfs", "space", "files", "pid namespace", "place",
        "clock", "registrar", "memory", "tables",
    ]  # fmt: skip
    assert f"pid {registrar_pid(command.folder)} answers in " in _found(document, "registrar")["says"]
    assert f"its log is {command.folder / 'registrar.log'}" in _found(document, "registrar")["says"]
    assert command("doctor").code == 0


def test_doctor_names_the_file_system_that_is_too_small(tmp_path: Path) -> None:
    """In a small file system `doctor` names it, and says which limit a registry that is made there has."""
    with small_tmpfs(tmp_path / "small", 48 * 1024 * 1024) as place:
        finding = next(one for one in machine.check_folder(place / "registry", 0) if one.check == "space")
    assert finding.level == "warning"
    assert f"{place} has 48.0 MiB" in finding.says
    assert "a limit of 12.0 MiB, not 100.0 MiB" in finding.says
    assert str(place) in finding.remedy


@pytest.mark.parametrize(("kind", "is_named"), [("btrfs", True), ("zfs", True), ("ext4", False), ("tmpfs", False)])
def test_doctor_names_a_file_system_that_can_end_processes(
    kind: str, is_named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a copy-on-write file system `doctor` says that processes get SIGBUS when it is full."""
    monkeypatch.setattr(machine, "_mount_of", lambda _: ("/", kind))
    finding = next(one for one in machine.check_folder(tmp_path / "registry", 0) if one.check == "tmpfs")
    assert ("SIGBUS" in finding.says) == is_named
    assert finding.level == ("ok" if kind == "tmpfs" else "warning")


def test_doctor_changes_nothing(command: Command) -> None:
    """`doctor` creates no registry and starts no registrar."""
    assert command("doctor").code == 0
    assert not command.folder.exists()


def test_doctor_of_a_stopped_registrar(command: Command, members: Registry) -> None:
    """A registrar that is stopped by a signal is a problem, and the remedy continues it."""
    members.register("planner")
    with stopped(command.folder) as pid:
        document = command.document("doctor")
    finding = _found(document, "registrar")
    assert not document["healthy"]
    assert finding["level"] == "problem"
    assert finding["says"] == f"pid {pid} is stopped and serves no client"
    assert finding["remedy"] == f"kill -CONT {pid}"


def test_doctor_of_a_killed_registrar(command: Command, members: Registry) -> None:
    """Entries without a registrar are a warning, with exit code 0; doctor starts none."""
    members.register("planner")
    kill_registrar(command.folder)
    answer = command("doctor")
    assert answer.code == 0
    assert "-> run: adsum registrar\n" in answer.out
    assert registrar_pid(command.folder) is None


def test_doctor_of_a_folder_that_is_open_to_others(command: Command, tmp_path: Path) -> None:
    """A folder that other users may enter is one problem, with the command that corrects it."""
    tmp_path.chmod(0o755)
    code, out, err = command("doctor", "--path", tmp_path)
    assert (code, err) == (1, "")
    assert out.count(f"chmod 700 '{tmp_path}'") == 1


@pytest.mark.parametrize("name", ["starting", "lock", "socket", "socket.new", "page.new", "page.replaced"])
def test_doctor_of_a_file_in_the_way(command: Command, name: str) -> None:
    """A file that keeps a registrar from starting is a problem that names the file; once it is removed, writes
    succeed."""
    (command.folder / name).mkdir(parents=True)
    command.folder.chmod(0o700)
    assert command("run", "planner", "--", "true").code == 3
    document = command.document("doctor")
    assert not document["healthy"]
    finding = _found(document, "files")
    assert f"{command.folder / name} " in finding["says"]
    assert f"rm -r '{command.folder / name}'" in finding["remedy"]
    (command.folder / name).rmdir()
    assert command("run", "planner", "--", "true").code == 0
    assert command("doctor").code == 0


def test_doctor_of_a_start_that_does_not_end(command: Command) -> None:
    """A process that holds the lock of starts, and starts nothing, is a problem that names it."""
    command.folder.mkdir(mode=0o700)
    hold = "import fcntl, sys; lock = open(sys.argv[1], 'w'); fcntl.flock(lock, fcntl.LOCK_EX); print('held'); input()"
    with Child(hold, command.folder / "starting") as holder:
        holder.expect("held")
        finding = _found(command.document("doctor"), "files")
        assert finding["level"] == "problem"
        assert f"process {holder.pid}, or a child that inherited it, holds the lock on" in finding["says"]
        assert str(command.folder / "starting") in finding["remedy"]
    assert _found(command.document("doctor"), "files")["level"] == "ok"


def _make_folder(path: Path) -> None:
    path.mkdir()


def _make_link_to_nowhere(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere") / "log")


@pytest.mark.parametrize("make", [_make_folder, _make_link_to_nowhere])
def test_doctor_of_a_log_that_cannot_be_written(command: Command, make: Callable[[Path], None]) -> None:
    """A registrar serves without a log if it cannot open one, and doctor warns with the name of the file."""
    command.folder.mkdir(mode=0o700)
    make(command.folder / "registrar.log")
    assert command("run", "planner", "--", "true").code == 0
    document = command.document("doctor")
    finding = _found(document, "files")
    assert document["healthy"]
    assert finding["level"] == "warning"
    assert f"{command.folder / 'registrar.log'} cannot be written" in finding["says"]


def test_doctor_of_damaged_tables(command: Command, members: Registry) -> None:
    """A violated invariant is a problem that names the first violation and the remedy."""
    members.register("planner", capabilities={"planning"})
    _damage(command.folder)
    document = command.document("doctor")
    assert not document["healthy"]
    assert _found(document, "tables")["says"].startswith("1 violations, the first: I2")


def test_doctor_of_a_damaged_page(command: Command, members: Registry) -> None:
    """A page that is damaged is a problem that names the file; the machine is checked in spite of it."""
    members.register("planner")
    os.truncate(command.folder / "page", 7)
    document = command.document("doctor")
    assert not document["healthy"]
    assert str(command.folder / "page") in _found(document, "registry")["says"]
    assert _found(document, "kernel")["level"] == "ok"


def test_doctor_of_few_descriptors(command: Command) -> None:
    """A low hard limit of open files is a warning with a remedy."""
    program = "import resource, runpy; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); import sys; "
    program += 'sys.argv[0] = "adsum"; runpy.run_module("adsum.cli", run_name="__main__")'
    with Child(program, "doctor", "--json", env=command.environment) as child:
        out, _ = child.process.communicate(timeout=60)
    assert b"LimitNOFILE=" in out
    assert child.process.returncode == 0


def test_doctor_of_another_time_namespace(command: Command, members: Registry) -> None:
    """A monotonic clock that differs from the registrar's is a warning: deadlines are converted, the uptime is not."""
    members.register("planner")
    if not _may_unshare("--time", "--monotonic", "1000"):
        pytest.skip("a time namespace takes root, and a kernel that has them")
    code, out, _ = _unshared(command, "--time", "--monotonic", "1000", "--fork")
    assert code == 0
    finding = _found(json.loads(out), "clock")
    assert finding["level"] == "warning"
    assert "time_namespaces(7)" in finding["remedy"]


def _may_unshare(*options: str) -> bool:
    return subprocess.run(["unshare", *options, "true"], capture_output=True, check=False).returncode == 0


def _unshared(command: Command, *options: str) -> tuple[int, str, str]:
    program = ["unshare", *options, *ADSUM, "doctor", "--json"]
    done = subprocess.run(program, env=command.environment, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_doctor_of_another_pid_namespace(command: Command, members: Registry) -> None:
    """In another PID namespace than the registry's, doctor reports the failed check and which namespace to share."""
    members.register("planner")
    if not _may_unshare("--pid", "--fork", "--mount-proc"):
        pytest.skip("a PID namespace takes root")
    code, out, _ = _unshared(command, "--pid", "--fork", "--mount-proc")
    assert code == 1
    finding = _found(json.loads(out), "pid namespace")
    assert finding["level"] == "problem"
    assert "share it" in finding["says"]


@pytest.mark.parametrize(("place", "kind"), [("/proc/self", "proc"), ("/dev/shm", "tmpfs"), ("/sys/kernel", "sysfs")])
def test_the_file_system_of_a_folder(place: str, kind: str) -> None:
    """The file system of a folder is that of the innermost mount that contains it."""
    assert machine._mount_of(Path(place))[1] == kind


def test_no_command_shows_a_dead_member(command: Command) -> None:
    """S2: no command's answer has a member that was killed."""
    with command.start_listener("me") as run:
        pid = int(run.line().split()[1])
        os.kill(pid, 9)
        assert run.wait() == 137
    assert command("ls").out == ""
    assert command("show", "me").code == 1
    eventually(lambda: command.document("stats")["entries"] == 0)
