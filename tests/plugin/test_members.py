"""Members that a test starts: killed, ended in order, frozen."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import adsum
from adsum.testing import Eventually, MemberFactory


@dataclasses.dataclass
class Model:
    """Own data of a class that no other process can import."""

    name: str


def test_a_member_is_another_process(adsum_registry: adsum.Registry, adsum_member: MemberFactory) -> None:
    """A member is a process of its own that has registered itself with what the test gave."""
    member = adsum_member("worker-1", capabilities={"counting"}, resources={"cores": 2}, gauges={"load": 0.5})
    entry = adsum_registry["worker-1"]
    assert entry.pid == member.pid != os.getpid()
    assert entry == member.registered
    assert member.entry == entry
    assert entry.metadata.capabilities == {"counting"}
    assert entry.metadata.resources == {"cores": 2}
    assert entry.gauges == {"load": 0.5}


def test_a_killed_member_is_not_found(adsum_registry: adsum.Registry, adsum_member: MemberFactory) -> None:
    """After `kill` no read finds the member, and its departure says how it died."""
    member = adsum_member("worker-1", capabilities={"counting"})
    member.kill()
    assert adsum_registry.find(capability="counting") == []
    assert member.entry is None
    assert not member.is_alive
    assert member.process.returncode == -signal.SIGKILL


def test_a_stopped_member_has_unregistered(adsum_registry: adsum.Registry, adsum_member: MemberFactory) -> None:
    """`stop` ends a member in order: it unregisters, and exits with 0."""
    assert adsum_member("worker-1").stop() == 0
    assert adsum_registry.departures(1)[0].how == "unregistered"


def test_a_frozen_member_is_found_and_gives_no_heartbeat(
    adsum_registry: adsum.Registry, adsum_member: MemberFactory, eventually: Eventually
) -> None:
    """A frozen member is alive and found, and misses its heartbeat; thawed, it gives it again."""
    member = adsum_member("worker-1", heartbeat="thread")
    member.freeze()
    eventually(lambda: adsum_registry["worker-1"].metadata.health_status == "degraded", within=30)
    assert member.is_alive
    member.thaw()
    eventually(lambda: adsum_registry["worker-1"].metadata.health_status == "healthy", within=30)


def test_a_frozen_member_can_be_ended(adsum_member: MemberFactory) -> None:
    """`stop` thaws a frozen member, so that it can end in order; `kill` needs no thaw."""
    first, second = adsum_member("worker-1"), adsum_member("worker-2")
    first.freeze()
    second.freeze()
    assert first.stop() == 0
    second.kill()
    assert not second.is_alive


def test_a_member_that_has_ended_cannot_be_frozen(adsum_member: MemberFactory) -> None:
    """`freeze` of a process that ended by itself says so, and does not wait for ever."""
    member = adsum_member("worker-1", command=["true"])
    os.waitid(os.P_PID, member.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(AssertionError, match="it has ended"):
        member.freeze()


def test_a_name_is_free_again(adsum_registry: adsum.Registry, adsum_member: MemberFactory) -> None:
    """A second member may have the name of one that was killed, and the first one is not taken for it."""
    first = adsum_member("worker-1")
    first.kill()
    second = adsum_member("worker-1")
    assert adsum_registry["worker-1"].pid == second.pid
    assert first.entry is None


def test_an_error_of_the_registration_is_raised_in_the_test(adsum_member: MemberFactory) -> None:
    """A name that is taken and data that cannot be stored are the errors of `register`."""
    first = adsum_member("worker-1")
    with pytest.raises(adsum.AlreadyRegistered) as raised:
        adsum_member("worker-1")
    assert raised.value.entry.pid == first.pid
    with pytest.raises(adsum.InvalidMetadata, match="capabilities"):
        adsum_member("worker-2", capabilities={""})


def test_own_data_may_be_an_object(adsum_registry: adsum.Registry, adsum_member: MemberFactory) -> None:
    """`custom` may be of a class that the member's process cannot import."""
    adsum_member("worker-1", custom=Model("small"))
    assert adsum_registry["worker-1"].custom_as(Model) == Model("small")


def test_a_program_can_be_a_member(adsum_registry: adsum.Registry, adsum_member: MemberFactory) -> None:
    """With `command=`, that program is the member."""
    member = adsum_member("sleeper", command=["sleep", "60"], capabilities={"sleeping"})
    assert Path(f"/proc/{member.pid}/cmdline").read_bytes() == b"sleep\0" + b"60\0"
    assert adsum_registry["sleeper"].pid == member.pid
    assert member.stop() == -signal.SIGTERM
    assert "sleeper" not in adsum_registry


def test_a_program_is_registered_before_it_runs(
    adsum_registry: adsum.Registry, adsum_member: MemberFactory, tmp_path: Path
) -> None:
    """A program that cannot be registered never runs, and one that does nothing has been a member."""
    adsum_member("worker-1")
    ran = tmp_path / "ran"
    with pytest.raises(adsum.AlreadyRegistered):
        adsum_member("worker-1", command=["touch", str(ran)])
    assert not ran.exists()
    for number in range(5):
        member = adsum_member(f"brief-{number}", command=["touch", str(ran)])
        assert member.process.wait(30) == 0
        assert member.registered.pid == member.pid
        assert member.entry is None
    assert ran.exists()


@pytest.mark.parametrize(("command", "error"), [(["no-such-program"], FileNotFoundError), (["/"], PermissionError)])
def test_a_program_that_cannot_be_started(
    adsum_registry: adsum.Registry, adsum_member: MemberFactory, command: list[str], error: type[OSError]
) -> None:
    """A program that is not there, or cannot be executed, is an error of the test, and no member."""
    with pytest.raises(error, match=command[0]):
        adsum_member("worker-1", command=command)
    assert "worker-1" not in adsum_registry


def test_a_program_has_what_the_test_has(adsum_member: MemberFactory, tmp_path: Path) -> None:
    """The environment of a program is that of the test, its working folder too; it has no descriptor more, and signals
    act on it as on any program."""
    code = "import os, signal, sys; print(sorted(os.environ.items()), os.getcwd(), sorted(os.listdir('/proc/self/fd'))"
    code += ", signal.getsignal(signal.SIGINT), file=open(sys.argv[1], 'w'))"
    said = []
    for name, start in (("a", lambda words: adsum_member("a", command=words).process), ("b", subprocess.Popen)):
        process = start([sys.executable, "-c", code, str(tmp_path / name)])
        assert process.wait(30) == 0
        said.append((tmp_path / name).read_text())
    assert said[0] == said[1]


def test_a_member_outlives_the_thread_that_started_it(adsum_member: MemberFactory) -> None:
    """A program is started by one thread of a test, which ends, and goes on."""
    with ThreadPoolExecutor(1) as threads:
        member = threads.submit(adsum_member, "worker-1", command=["sleep", "60"]).result()
    assert member.is_alive
    assert member.entry is not None
    assert member.stop() == -signal.SIGTERM


@pytest.mark.parametrize("command", [None, ["sleep", "60"]], ids=["a member", "a program"])
def test_the_keywords_of_register(
    adsum_registry: adsum.Registry, adsum_member: MemberFactory, eventually: Eventually, command: list[str] | None
) -> None:
    """A member takes every keyword of `register`: one that is owned ends with its owner, a name everywhere needs a
    cluster, and a time that is none is refused."""
    boss = adsum_member("boss")
    for name, owner in (("by-id", "boss"), ("by-whole-id", boss.id), ("by-entry", boss.registered)):
        member = adsum_member(name, command=command, owned_by=owner, timeout=20, replace=False)
        owned_by = member.registered.owned_by
        assert owned_by is not None
        assert owned_by.process_id == boss.id
    boss.kill()
    eventually(lambda: adsum_registry.count() == 0)
    assert {one.how for one in adsum_registry.departures(3)} == {"owner_died"}
    with pytest.raises(adsum.NotRegistered):
        adsum_member("late", command=command, owned_by="boss")
    with pytest.raises(adsum.AdsumError, match="cluster"):
        adsum_member("name", command=command, everywhere=True)
    with pytest.raises(ValueError, match="timeout"):
        adsum_member("never", command=command, timeout=-1)


def test_a_program_that_ignores_sigterm_is_killed(adsum_member: MemberFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """`stop` has a bound. The test learns that the program did not end in order."""
    monkeypatch.setattr("adsum.testing.member.END_SECONDS", 0.3)
    member = adsum_member("stubborn", command=["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"])
    # The program needs a moment until it ignores the signal.
    status = Path(f"/proc/{member.pid}/status")
    while not int(status.read_text().partition("SigIgn:\t")[2][:16], 16) & 1 << signal.SIGTERM - 1:
        continue
    with pytest.raises(AssertionError, match="did not end on SIGTERM"):
        member.stop()
    assert not member.is_alive
