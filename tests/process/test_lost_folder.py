"""The folder of a registry goes while its members live: at a logout, or because a program tidies up."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import adsum
from adsum import Entry, Registration, Registry
from adsum._client.keeper import LOOK_SECONDS
from tests.support import (
    WITHIN,
    Agent,
    Opener,
    end_registrar,
    eventually,
    eventually_awaited,
    kill_registrar,
    remove_folder,
    stopped,
)


def _found(folder: Path, name: str) -> Entry | None:
    with adsum.open(path=folder) as registry:
        return registry.lookup(name)


def test_an_ended_thread_does_not_come_back(registry: Registry) -> None:
    """A thread that has ended is not registered anew, although the program still has the object; its name is free."""
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait)
    thread.start()
    registry.register("thread", thread)
    with registry.register("keep") as kept:
        before = kept.entry
        gate.set()
        thread.join()
        eventually(lambda: registry.stats().entries == 1)
        remove_folder(registry.folder)
        eventually(lambda: kept.entry is not before)
        assert [id.local_id for id in registry] == ["keep"]
        assert registry.register("thread").entry.pid == os.getpid()
        # One change for each of the two.
        assert registry["thread"].incarnation == 2


@pytest.mark.parametrize("with_registrar", [True, False], ids=["registrar", "no registrar"])
def test_members_are_back_within_a_second(with_registrar: bool, registry_folder: Path) -> None:
    """Every process that has entries registers them anew when the folder is gone, also where no registrar is left that
    could notice: with the same metadata, for the same process, as new incarnations."""
    with Agent(registry_folder) as one, Agent(registry_folder) as two:
        one.do("a = registry.register('a', capabilities={'x'}, custom={'n': [1]})")
        one.do("a.update(endpoint='tcp://x:1')")
        two.do("b = registry.register('b', heartbeat=60.0)")
        two.do("gone = registry.register('gone'); gone.unregister()")
        if not with_registrar:
            kill_registrar(registry_folder)
        remove_folder(registry_folder)
        eventually(lambda: _found(registry_folder, "a") and _found(registry_folder, "b"), 10)
        with adsum.open(path=registry_folder) as registry:
            a = registry["a"]
            assert (a.pid, sorted(a.metadata.capabilities), a.metadata.endpoint) == (one.pid, ["x"], "tcp://x:1")
            assert a.metadata.custom == {"n": [1]}
            assert (registry["b"].pid, registry["b"].metadata.heartbeat) == (two.pid, 60.0)
            assert len(registry) == 2
            assert registry.audit() == []


def test_a_registration_acts_on_its_new_incarnation(registry: Registry) -> None:
    """The `Registration` of a member goes on to work: it has the entry that was registered anew."""
    with registry.register("a") as registration, registry.register("b") as other:
        before = registration.entry, other.entry
        remove_folder(registry.folder)
        eventually(lambda: registration.entry is not before[0] and other.entry is not before[1])
        assert registration.entry == registry["a"]
        assert registration.update(endpoint="x").metadata.endpoint == "x"
    assert len(registry) == 0


def test_a_thread_and_a_child_are_back(registry: Registry) -> None:
    """Entries of threads and of other processes are registered anew, too, and end as they would have."""
    ends = threading.Event()
    thread = threading.Thread(target=ends.wait)
    thread.start()
    with subprocess.Popen(["sleep", "60"]) as child:
        of_thread = registry.register("thread", thread)
        of_child = registry.register("child", child)
        before = of_thread.entry, of_child.entry
        remove_folder(registry.folder)
        eventually(lambda: of_thread.entry is not before[0] and of_child.entry is not before[1])
        assert of_thread.entry == registry["thread"]
        ends.set()
        thread.join()
        eventually(lambda: "thread" not in registry)
        assert registry["child"].pid == child.pid
        child.kill()
    eventually(lambda: "child" not in registry)


def test_the_program_decides(opener: Opener, registry_folder: Path) -> None:
    """`on_lost` gets the lost entries, and the members stay away when it returns False. The `Registration` of a lost
    entry acts on no later holder of its id."""
    lost: list[list[Entry]] = []

    def let_go(entries: list[Entry]) -> bool:
        lost.append(entries)
        return False

    registry = opener(on_lost=let_go)
    registration = registry.register("a")
    remove_folder(registry_folder)
    eventually(lambda: bool(lost))
    assert [[entry.process_id.local_id for entry in entries] for entries in lost] == [["a"]]
    eventually(lambda: registration.entry.incarnation == 0)
    with subprocess.Popen(["sleep", "60"]) as other:
        registry.register("a", other)
        with pytest.raises(adsum.Stale):
            registration.unregister()
        other.kill()


def test_the_program_is_asked_once(opener: Opener, registry_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no registrar can be started for a while, it is tried again, and `on_lost` is not called again."""
    lost: list[list[Entry]] = []
    registry = opener(on_lost=lost.append)
    registration = registry.register("a")
    before = registration.entry
    monkeypatch.setenv("ADSUM_PYTHON", "/bin/false")
    remove_folder(registry_folder)
    eventually(lambda: bool(lost))
    tried = time.monotonic() + 2
    eventually(lambda: time.monotonic() > tried)
    monkeypatch.delenv("ADSUM_PYTHON")
    eventually(lambda: registration.entry is not before)
    assert len(lost) == 1
    assert registry["a"] == registration.entry


def test_an_error_in_on_lost_loses_no_member(registry_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An error that `on_lost` raises is logged, and the members are registered anew."""

    def fails(_entries: list[Entry]) -> None:
        raise ArithmeticError("of the program")

    with caplog.at_level(logging.WARNING, "adsum"), adsum.open(path=registry_folder, timeout=10, on_lost=fails) as one:
        one.register("a")
        remove_folder(registry_folder)
        eventually(lambda: "a is registered anew, as incarnation 1" in caplog.text)
    assert "of the program" in caplog.text


def test_no_id_is_granted_whose_holder_lives(registry_folder: Path) -> None:
    """S1: when the folder is gone, the holder holds its id again, and the standbys are granted it in their order."""
    with Agent(registry_folder) as holder, Agent(registry_folder) as first, Agent(registry_folder) as second:
        holder.do("registry.register('leader')")
        for standby in (first, second):
            standby.do("future = registry.stand_by('leader')")
        remove_folder(registry_folder)
        eventually(lambda: (found := _found(registry_folder, "leader")) is not None and found.pid == holder.pid)
        eventually(lambda: _standbys(registry_folder) == 2)
        assert not first.value("future.done()")
        assert not second.value("future.done()")
        holder.kill()
        eventually(lambda: (found := _found(registry_folder, "leader")) is not None and found.pid == first.pid)
        assert not second.value("future.done()")
        first.kill()
        eventually(lambda: (found := _found(registry_folder, "leader")) is not None and found.pid == second.pid)


def _standbys(folder: Path) -> int:
    """The sessions that stand by."""
    with adsum.open(path=folder) as registry:
        registry._reader.attach()
        environment = registry._reader._tables.current()
        if environment is None:
            return 0
        with environment.lmdb.begin() as txn:
            return int(txn.stat(environment.tables["standbys"])["entries"])


def test_an_entry_that_was_unregistered_stays_away(registry_folder: Path) -> None:
    """A member that its process unregisters while it is being registered anew does not come back."""
    with Agent(registry_folder) as agent:
        agent.do("regs = [registry.register(f'a{n}') for n in range(50)]")
        remove_folder(registry_folder)
        eventually(lambda: _found(registry_folder, "a0"))
        agent.do("for n in range(50): registry.unregister(f'a{n}')")
        agent.do("last = registry.register('last')")
        eventually(lambda: _names(registry_folder) == ["last"])
        time.sleep(0.5)
        assert _names(registry_folder) == ["last"]


def _names(folder: Path) -> list[str]:
    with adsum.open(path=folder) as registry:
        return [entry.process_id.local_id for entry in registry.find()]


def test_a_keeper_sleeps_while_a_registrar_serves(registry: Registry) -> None:
    """The thread that waits for the loss of the folder costs no processor time until there is one."""
    registry.register("a")
    keeper = registry._client.keeper
    eventually(lambda: keeper._thread is not None and keeper._thread.native_id is not None)
    assert keeper._thread is not None
    status = Path(f"/proc/self/task/{keeper._thread.native_id}/status")

    def sleeps() -> int:
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("voluntary_ctxt_switches")]
        return int(line.split()[1])

    def is_quiet() -> bool:
        before = sleeps()
        time.sleep(3 * LOOK_SECONDS)
        return sleeps() == before

    eventually(is_quiet)


def test_a_closed_registry_renews_nothing(registry: Registry) -> None:
    """After `close` no member comes back, and no thread or descriptor is left."""
    registry.register("a")
    registry.close()
    end_registrar(registry.folder)
    remove_folder(registry.folder)
    time.sleep(1)
    assert not registry.folder.exists()


def test_a_forked_child_renews_no_entry_of_its_parent(registry_folder: Path) -> None:
    """A child of `fork` registers only what it registered itself."""
    with Agent(registry_folder) as parent:
        parent.do("registry.register('parent')")
        parent.do("import time; child = os.fork()\nif not child: time.sleep(60)")
        parent.do("registry.unregister('parent')")
        parent.do("keep = registry.register('other')")
        remove_folder(registry_folder)
        eventually(lambda: _found(registry_folder, "other"))
        assert _found(registry_folder, "parent") is None
        parent.do("os.kill(child, 9); os.waitpid(child, 0)")


def test_a_registration_waits_for_its_return(registry: Registry) -> None:
    """A call through a `Registration` right after the loss acts on the entry that comes back."""
    with registry.register("a", heartbeat=60.0) as registration:
        for number in range(3):
            remove_folder(registry.folder)
            assert registration.update(custom={"number": number}).metadata.custom == {"number": number}
            assert registry["a"].metadata.custom == {"number": number}
            remove_folder(registry.folder)
            assert registration.heartbeat().pid == os.getpid()
            # It may have been left in the memory of what was removed, and has waited for nothing.
            eventually(lambda: _is_in(registry.folder))
    assert registry.lookup("a") is None


def _set_status(registration: Registration, _successor: int) -> Entry:
    return registration.update_health("degraded")


def _hand_over(registration: Registration, successor: int) -> Entry:
    return registration.hand_over(successor)


@pytest.mark.parametrize("write", [_set_status, _hand_over])
def test_a_write_is_made_again_for_the_other_incarnation(
    write: Callable[[Registration, int], Entry], either: Registry
) -> None:
    """A status or a hand-over right after the loss is about the entry that comes back, under another incarnation."""
    first = either.register("first")
    registration = either.register("a", gauges={"load": 0.25})
    first.unregister()
    with Agent(either.folder) as successor:
        remove_folder(either.folder)
        written = write(registration, successor.pid)
        assert either["a"] == written
        assert written.gauges == {"load": 0.25}
        # It came back as 1; a hand-over is another incarnation again.
        assert (written.incarnation, written.revision) in {(1, 2), (2, 2)}


def test_a_write_that_is_made_again_is_about_the_other_entry(registry: Registry) -> None:
    """The request to hand over an entry that was registered anew names its incarnation, and has its present gauges."""
    before = registry.register("a", gauges={"load": 0.25})
    with Agent(registry.folder) as successor:
        write = registry._calls.hand_over(before.entry, successor.pid)
        after = registry.register("a", replace=True, gauges={"load": 0.25})
        after.gauges["load"] = 0.75
        request = registry._calls.again(write, after.entry).request
    present = {"if_incarnation": after.entry.incarnation, "gauges": {"load": 0.75}}
    assert request == msgspec.structs.replace(write.request, **present)


def _is_in(folder: Path) -> bool:
    """Whether the member is in the registry that is in the folder now."""
    with adsum.open(path=folder) as now:
        return "a" in now


def test_an_entry_that_another_process_removed_is_not_waited_for(registry: Registry) -> None:
    """Where the registry is there and the entry is not, the error comes at once."""
    registration = registry.register("a")
    with Agent(registry.folder) as other:
        other.do("registry.unregister('a')")
    began = time.monotonic()
    with pytest.raises(adsum.NotRegistered):
        registration.update(custom={}, timeout=60)
    assert time.monotonic() - began < 30


async def test_an_event_loop_goes_on_with_heartbeats(registry_folder: Path) -> None:
    """The heartbeats of a loop are for the new incarnation, and an awaited call waits for it."""
    async with adsum.open_async(path=registry_folder, timeout=10) as registry:
        first = await registry.register("first")
        registration = await registry.register("a", heartbeat="loop")
        await first.unregister()
        before = registration.entry
        remove_folder(registry_folder)
        assert (await registration.update(custom={"back": True})).incarnation != before.incarnation
        # Without heartbeats it would be unhealthy by then, and stay so.
        await asyncio.sleep(3.5)
        await eventually_awaited(lambda: registry["a"].metadata.health_status == "healthy")


def test_an_exit_in_on_lost_loses_no_member(registry_folder: Path) -> None:
    """`SystemExit` in `on_lost` does not end the thread that registers anew."""
    with adsum.open(path=registry_folder, timeout=10, on_lost=lambda _: sys.exit(1)) as registry:
        registration = registry.register("a")
        for _ in range(2):
            before = registration.entry
            remove_folder(registry_folder)
            eventually(lambda before=before: registration.entry is not before)  # type: ignore[misc]


@pytest.mark.parametrize(
    "unregister",
    [lambda registry: registry.unregister("a"), lambda registry: registry.unregister_many(["a"])],
    ids=["one", "many"],
)
def test_unregistered_and_closed_while_it_is_registered_anew(
    unregister: Callable[[Registry], object], registry_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that a program unregisters while the keeper registers it anew does not come back, also where the program
    closes its registry in the same moment."""
    registry = adsum.open(path=registry_folder, timeout=10)
    registry.register("a")
    pool = registry._client.pool
    reached, unregistered, carried_out = (threading.Event() for _ in range(3))
    ask = pool.ask_there

    def ask_slowly(*request: Any) -> Any:
        reached.set()
        assert unregistered.wait(WITHIN)
        reply = ask(*request)
        carried_out.set()
        time.sleep(0.3)
        return reply

    monkeypatch.setattr(pool, "ask_there", ask_slowly)
    remove_folder(registry_folder)
    assert reached.wait(WITHIN)
    # There is no registry yet, in which it could be.
    assert unregister(registry) in (False, [False])
    unregistered.set()
    assert carried_out.wait(WITHIN)
    registry.close()
    with adsum.open(path=registry_folder, timeout=10) as other:
        eventually(lambda: other.lookup("a") is None)


def test_another_process_does_not_get_the_id(registry_folder: Path) -> None:
    """S1: at once after the loss, a process that never used the old registry is refused an id whose holder lives, and
    the holder is back."""
    with Agent(registry_folder) as holder, Agent(registry_folder) as other:
        holder.do("registry.register('leader')")
        remove_folder(registry_folder)
        other.do("try: registry.register('leader'); error = None\nexcept adsum.AlreadyRegistered as e: error = e")
        refused = other.value("error and error.entry.pid")
        assert refused == holder.pid
        eventually(lambda: (found := _found(registry_folder, "leader")) is not None and found.pid == holder.pid)


def test_a_standby_does_not_get_the_id(registry_folder: Path) -> None:
    """S1: a process that begins to stand by at once after the loss waits behind the holder."""
    with Agent(registry_folder) as holder, Agent(registry_folder) as other:
        holder.do("registry.register('leader')")
        remove_folder(registry_folder)
        other.do("future = registry.stand_by('leader')")
        eventually(lambda: (found := _found(registry_folder, "leader")) is not None and found.pid == holder.pid)
        assert not other.value("future.done()")
        holder.kill()
        assert other.value("future.result().entry.pid") == other.pid


def test_an_id_is_reserved_after_two_losses(registry_folder: Path) -> None:
    """S1 also where the folder goes again before the members are back."""
    with Agent(registry_folder) as holder, Agent(registry_folder) as other:
        holder.do("registry.register('leader')")
        for number in range(3):
            remove_folder(registry_folder)
            # Through a registrar that has not seen the holder yet, or has.
            other.do(f"registry.register('other-{number}')")
        with pytest.raises(adsum.AlreadyRegistered):
            other.do("registry.register('leader')")
        eventually(lambda: (found := _found(registry_folder, "leader")) is not None and found.pid == holder.pid)


def test_an_id_whose_holder_has_let_go_is_free_in_the_end(registry_folder: Path) -> None:
    """A reservation ends with its time where the holder has closed its registry, and a standby gets the id."""
    with Agent(registry_folder) as holder, Agent(registry_folder) as other:
        holder.do("registry.register('leader')")
        holder.do("registry.close()")
        remove_folder(registry_folder)
        with pytest.raises(adsum.AlreadyRegistered):
            other.do("registry.register('leader')")
        assert other.value("registry.stand_by('leader').result(30).entry.pid") == other.pid


def test_a_stopped_registrar_stops_no_other(registry_folder: Path) -> None:
    """Where the registrar of the lost folder is stopped, another one serves, and reserves nothing."""
    with Agent(registry_folder) as holder, Agent(registry_folder) as other:
        holder.do("registry.register('leader')")
        with stopped(registry_folder):
            remove_folder(registry_folder)
            assert other.value("registry.register('leader').entry.pid") == other.pid


def test_a_folder_that_was_renamed(registry_folder: Path) -> None:
    """S1 at the old path, where the members return. The registry at the new path is another one."""
    renamed = registry_folder.with_name("renamed")
    with Agent(registry_folder) as holder, Agent(registry_folder) as other:
        holder.do("registry.register('leader')")
        registry_folder.rename(renamed)
        with pytest.raises(adsum.AlreadyRegistered):
            other.do("registry.register('leader')")
        eventually(lambda: (found := _found(registry_folder, "leader")) is not None and found.pid == holder.pid)
        with Agent(renamed) as there:
            assert there.value("registry.register('leader').entry.pid") == there.pid
    end_registrar(renamed)
