"""Claims: which slot a claimer gets, what it is told, and what ends a claim."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import (
    ClaimRecord,
    DeadProcess,
    InvalidMetadata,
    InvalidQuery,
    MetadataKeywords,
    NotRegistered,
    Registry,
    Timeout,
)
from tests.support import Opener, end_registrar, eventually, eventually_awaited, registrar_pid
from tests.support.internals import queued_calls


def claimers(registry: Registry, id: str = "w") -> list[int]:
    """The pids of the processes that hold slots of a member."""
    return [record.pid for record in registry[id].claims]


def _until_full(write: Callable[[int], object]) -> None:
    with pytest.raises(adsum.RegistryFull):  # noqa: PT012 - which of the writes it is depends on the sizes of pages
        for number in range(1000):
            write(number)


def test_the_entry_shows_the_claim(either: Registry) -> None:
    """The member's entry has the claim while it is held: its number, the claimer's identity, and the time."""
    before = either.register("w").entry
    claim = either.claim("w")
    entry = either["w"]
    assert claim.entry == entry
    assert claim.process_id == entry.process_id
    owner, revision = entry.owner, entry.revision
    assert entry.claims == (ClaimRecord(claim.number, *owner, entry.claims[0].since),)
    assert before.registered_at <= entry.claims[0].since <= datetime.now(UTC)
    assert (revision, entry.metadata) == (before.revision + 1, before.metadata)
    assert claim.release() is True
    assert (either["w"].claims, either["w"].revision) == ((), revision + 1)
    assert claim.release() is False


def test_the_end_of_the_block_releases_the_slot(either: Registry) -> None:
    """A claim in a block is released at its end, also by an error in the block."""
    either.register("w")
    with either.claim("w"):
        assert claimers(either) == [os.getpid()]
    assert claimers(either) == []
    with pytest.raises(ZeroDivisionError), either.claim("w"):
        raise ZeroDivisionError
    assert claimers(either) == []
    with either.claim("w") as claim:
        claim.release()


@pytest.mark.parametrize("slots", [None, 1, 3])
def test_no_member_has_more_claims_than_slots(slots: int | None, either: Registry) -> None:
    """A member takes as many claims at a time as it has slots, one by default; the next claim gets none."""
    fields: MetadataKeywords = {} if slots is None else {"slots": slots}
    either.register("w", **fields)
    held = [either.claim("w") for _ in range(slots or 1)]
    assert len({claim.number for claim in held}) == len(held)
    for timeout in (0, 0.05):
        with pytest.raises(Timeout, match=r"no slot of .*/w became free within 0"):
            either.claim("w", timeout=timeout)
    assert len(either["w"].claims) == len(held)
    held[0].release()
    assert either.claim("w", timeout=0).number != held[0].number


@pytest.mark.parametrize("slots", [0, -1, 1025, 1.5, True, "2"])
def test_impossible_slots(slots: Any, either: Registry) -> None:
    """Slots are a whole number from 1 to 1,024."""
    with pytest.raises(InvalidMetadata, match=r"metadata\.slots"):
        either.register("w", slots=slots)
    assert either.register("w", slots=1024).update(slots=None).metadata.slots is None


def test_claims_spread_over_the_members(either: Registry) -> None:
    """Each claim gets a member with the fewest claims; of equals the one that was not claimed for longest."""
    either.register_many([(f"w-{number}", {"slots": 3, "capabilities": {"x"}}) for number in range(4)])
    either.register("other", slots=9)
    rounds = [[either.claim(capability="x").process_id.local_id for _ in range(4)] for _ in range(3)]
    assert [sorted(ids) for ids in rounds] == [["w-0", "w-1", "w-2", "w-3"]] * 3
    with pytest.raises(Timeout):
        either.claim(capability="x", timeout=0)
    for id in ("w-2", "w-0", "w-2"):
        either.update(id, slots=4 if id == "w-0" else 5)
    assert [either.claim(capability="x").process_id.local_id for _ in range(2)] in (["w-0", "w-2"], ["w-2", "w-0"])


def test_single_claims_go_round(either: Registry) -> None:
    """Where no member is claimed, claims take the members in turn."""
    either.register_many([(f"w-{number}", {}) for number in range(3)])
    taken = []
    for _ in range(6):
        with either.claim() as claim:
            taken.append(claim.process_id.local_id)
    assert taken == ["w-0", "w-1", "w-2"] * 2


def test_conditions_select_the_members(either: Registry, opener: Opener) -> None:
    """The conditions of `find` select the members that are claimed, ranges and all namespaces included."""
    either.register("a", capabilities={"x", "y"}, custom={"model": {"size": 7}}, resources={"tokens": 5000})
    either.register("b", capabilities={"x"}, type="service", resources={"tokens": 10})
    opener(namespace="other").register("c", capabilities={"z"})
    chosen: list[tuple[dict[str, Any], str]] = [
        ({"capability": {"x", "y"}}, "a"),
        ({"type": "service"}, "b"),
        ({"resources": {"tokens": adsum.at_least(1000)}}, "a"),
        ({"resources": {"tokens": adsum.at_most(1000)}, "capability": "x"}, "b"),
        ({"custom": {"model": {"size": adsum.between(1, 9)}}}, "a"),
        ({"custom": {"model": None}}, "b"),
        ({"custom": {"model": {"size": 7}}, "any_capability": ["y", "q"]}, "a"),
        ({"not_capability": "y"}, "b"),
        ({"id_prefix": "a", "pid": os.getpid(), "node": either.node}, "a"),
        ({"namespace": "other"}, "c"),
        ({"namespace": adsum.ALL, "capability": "z"}, "c"),
    ]
    for conditions, id in chosen:
        with either.claim(timeout=0, **conditions) as claim:
            assert claim.process_id.local_id == id, conditions
    with pytest.raises(Timeout):
        either.claim(capability="z", timeout=0)
    with pytest.raises(Timeout):
        either.claim("b", capability="y", timeout=0)
    with either.claim("a", capability="y", timeout=0) as claim:
        assert claim.process_id.local_id == "a"


def test_impossible_conditions(either: Registry) -> None:
    """A condition that no search has, a function, and another health status are refused."""
    either.register("w")
    refused: list[tuple[dict[str, Any], str]] = [
        ({"where": bool}, "where"),
        ({"capabilities": "x"}, "capability"),
        ({"health_status": "degraded"}, "healthy"),
        ({"resources": {"a": []}}, "resources"),
    ]
    for conditions, said in refused:
        with pytest.raises(InvalidQuery, match=said):
            either.claim(timeout=0, **conditions)
    with pytest.raises(InvalidQuery, match="another one"):
        either.claim("w", namespace="elsewhere")
    for timeout in (-1, "soon", True):
        with pytest.raises(ValueError, match="timeout"):
            either.claim("w", timeout=timeout)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="process"):
        either.claim("w", threading.current_thread())  # type: ignore[arg-type]
    assert either["w"].claims == ()


def test_an_id_that_no_member_holds(either: Registry) -> None:
    """A claim on an id that is not registered is an error at once; without a registry none is made."""
    with pytest.raises(NotRegistered):
        either.claim("w")
    assert not either.folder.exists()
    either.register("other")
    with pytest.raises(NotRegistered, match=r"/w is not registered"):
        either.claim("w")
    with pytest.raises(Timeout):
        either.claim(capability="x", timeout=0.05)


def test_only_healthy_members_are_claimed(either: Registry) -> None:
    """A member that is not healthy gets no claim, and keeps those that it has."""
    registration = either.register("w", slots=2)
    claim = either.claim("w")
    registration.update_health("degraded")
    with pytest.raises(Timeout):
        either.claim("w", timeout=0)
    assert [record.number for record in either["w"].claims] == [claim.number]
    registration.update_health("healthy")
    either.claim("w", timeout=0)


def test_updates_keep_the_claims(either: Registry) -> None:
    """An update, a heartbeat and a change of the slots keep the claims; with fewer slots none is granted."""
    registration = either.register("w", slots=2, heartbeat=100.0)
    numbers = [either.claim("w").number for _ in range(2)]
    registration.update(custom={"a": 1}, slots=1)
    either.update("w", add={"custom.a": 1})
    registration.heartbeat()
    either.update_many([("w", {"endpoint": "e"})])
    assert [record.number for record in either["w"].claims] == numbers
    with pytest.raises(Timeout):
        either.claim("w", timeout=0)


def test_the_claims_end_with_the_entry(either: Registry) -> None:
    """An entry that is unregistered or registered anew takes its claims along; releasing them is no error."""
    registration = either.register("w")
    with either.claim("w") as claim:
        registration.unregister()
    assert claim.release() is False
    either.register("w")
    with either.claim("w", timeout=0) as claim:
        either.register("w", replace=True)
        assert claimers(either) == []
        again = either.claim("w", timeout=0)
        assert claim.release() is False
    assert [record.number for record in either["w"].claims] == [again.number]


def test_a_hand_over_keeps_the_claims(either: Registry) -> None:
    """The claims of a member that is handed over stay, and their claimers release them."""
    registration = either.register("w")
    claim = either.claim("w")
    with subprocess.Popen(["sleep", "60"]) as successor:
        try:
            assert registration.hand_over(successor).claims == claim.entry.claims
            with pytest.raises(Timeout):
                either.claim("w", timeout=0)
            assert claim.release() is True
            assert either["w"].claims == ()
        finally:
            successor.kill()


def test_a_claim_for_another_process(either: Registry) -> None:
    """A claim for another process ends with that process."""
    either.register("w")
    with subprocess.Popen(["sleep", "60"]) as holder:
        try:
            either.claim("w", holder)
            assert claimers(either) == [holder.pid]
            with pytest.raises(Timeout):
                either.claim("w", timeout=0)
        finally:
            holder.kill()
    # A slot of a dead claimer is free, reported or not.
    either.claim("w", timeout=0)
    with pytest.raises(DeadProcess):
        either.claim("w", holder)


def test_closing_releases_the_claims_of_this_process(opener: Opener) -> None:
    """Closing a registry releases the claims that were made through it for this process, and no others."""
    watching, claiming = opener(), opener()
    watching.register("w", slots=3)
    kept = watching.claim("w")
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            claiming.claim("w")
            of_other = claiming.claim("w", other)
            claiming.close()
            assert {record.number for record in watching["w"].claims} == {kept.number, of_other.number}
        finally:
            other.kill()


def test_a_closed_registry_at_the_end_of_the_block(opener: Opener) -> None:
    """The end of a block whose registry was closed is no error."""
    watching, claiming = opener(), opener()
    watching.register("w")
    with claiming.claim("w"):
        claiming.close()
        assert watching["w"].claims == ()


def test_a_forked_child_releases_nothing(registry: Registry) -> None:
    """A child that leaves the block of its parent's claim releases nothing; nor does it by closing the registry."""
    registry.register("w")
    with registry.claim("w") as claim:
        child = os.fork()
        if not child:
            try:
                claim.__exit__(None, None, None)
                registry.close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert claimers(registry) == [os.getpid()]
    assert claimers(registry) == []


def test_threads_hold_claims_of_their_own(registry: Registry) -> None:
    """Each call is a claim of its own, so threads of one process exclude each other."""
    registry.register("w", slots=2)
    holding = most = 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal holding, most
        for _ in range(10):
            with registry.claim("w"):
                with lock:
                    holding += 1
                    most = max(most, holding)
                with lock:
                    holding -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= 2
    assert claimers(registry) == []


def test_a_watch_reports_claims(registry: Registry) -> None:
    """A claim and its release are events `updated`, with the entries before and after."""
    registry.register("w")
    with registry.watch("w") as watch:
        with registry.claim("w") as claim:
            pass
        begun, ended = watch.next(10), watch.next(10)
    assert begun.kind == ended.kind == "updated"
    assert begun.previous is not None
    assert begun.previous.claims == ()
    assert begun.entry is not None
    assert [record.number for record in begun.entry.claims] == [claim.number]
    assert ended.entry is not None
    assert ended.entry.claims == ()


def test_claims_as_plain_data(registry: Registry) -> None:
    """An entry as plain data has its claims as objects with names."""
    registry.register("w", slots=2)
    with registry.claim("w") as claim:
        fields = registry["w"].to_dict()
    assert fields["metadata"]["slots"] == 2
    assert [one["number"] for one in fields["claims"]] == [claim.number]
    assert fields["claims"][0].keys() == {"number", "pid", "start_time", "pidfd_inode", "since"}
    assert registry["w"].to_dict()["claims"] == []


def test_a_full_registry_takes_no_claim_and_every_release(opener: Opener) -> None:
    """A claim needs room, and is refused in a full registry; a release never is."""
    registry = opener(limits=adsum.Limits(max_memory_bytes=1024 * 1024), timeout=10)
    registry.register("w", slots=1024)
    held = [registry.claim("w")]
    _until_full(lambda number: registry.register(f"full-{number}", custom={"ballast": "x" * 3000}))
    _until_full(lambda _: held.append(registry.claim("w", timeout=0)))
    assert all(claim.release() for claim in held)
    assert eventually(lambda: registry["w"].claims == ())


def test_a_cancelled_task_leaves_the_queue(opener: Opener) -> None:
    """A task that is cancelled while it waits leaves the queue; one that is cancelled in its block releases the
    slot."""
    registry: Any = opener()
    if isinstance(registry, Registry):
        pytest.skip("a thread cannot be cancelled")
    registry.register("w")

    async def cancel(held: bool) -> None:
        is_in_block = asyncio.Event()

        async def work() -> None:
            async with registry.inner.claim("w"):
                is_in_block.set()
                await asyncio.sleep(99)

        task = asyncio.ensure_future(work())
        if held:
            await is_in_block.wait()
        else:
            await eventually_awaited(lambda: queued_calls(registry.inner) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    registry.runner.run(cancel(held=True))
    with registry.claim("w", timeout=5):
        registry.runner.run(cancel(held=False))
    registry.claim("w", timeout=5)


def test_only_with_async_with(opener: Opener) -> None:
    """A claim of an `AsyncRegistry` in a plain `with` is refused with what to write."""
    registry: Any = opener()
    if isinstance(registry, Registry):
        pytest.skip("it is for a plain with")
    with pytest.raises(TypeError, match="async with"), registry.inner.claim("w"):
        pass


def test_closing_starts_no_registrar_for_members_that_are_gone(registry_folder: Path) -> None:
    """Closing a registry whose claimed member is gone asks for nothing: it starts no registrar and makes no folder."""
    with adsum.open(path=registry_folder, timeout=10) as registry:
        registration = registry.register("w")
        registry.claim("w")
        registration.unregister()
        end_registrar(registry_folder)
    assert registrar_pid(registry_folder) is None
