"""Claims of several processes: who gets a slot, in which order, and what deaths do to claims."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

import adsum
from adsum import NotRegistered, Registry, Timeout
from tests.support import Agent, Child, Opener, end_registrar, eventually, kill_registrar, stopped
from tests.support.processes import is_alive

QUEUED = "__import__('tests.support.internals', fromlist=['x']).queued_calls(registry)"


def numbers(registry: Registry, id: str = "w") -> list[int]:
    return [record.pid for record in registry[id].claims]


def wait_for_slot(agent: Agent, claim: str = "registry.claim('w')") -> None:
    """Let `agent` claim in a thread; on return the registrar has queued the claim."""
    agent.do("from concurrent.futures import ThreadPoolExecutor")
    agent.do(f"waiting = ThreadPoolExecutor().submit(lambda: {claim})")
    eventually(lambda: agent.value(QUEUED) == 1)


def test_the_death_of_the_claimer_releases_the_slot(registry: Registry) -> None:
    """A claimer without an entry of its own is killed: its slots are free, and the claim that waits gets one."""
    registry.register("w", slots=2)
    with Agent(registry.folder) as claimer, Agent(registry.folder) as next_one:
        claimer.do("claims = [registry.claim('w'), registry.claim('w')]")
        wait_for_slot(next_one)
        assert numbers(registry) == [claimer.pid] * 2
        claimer.kill()
        assert next_one.value("waiting.result(9).entry.claims[0].pid") == next_one.pid
        eventually(lambda: numbers(registry) == [next_one.pid])


def test_a_dead_claimer_is_skipped_without_a_report(registry: Registry) -> None:
    """A claim that meets a claimer that has died, and is not reaped, gets its slot at once."""
    registry.register("w")
    for _ in range(5):
        with Agent(registry.folder) as claimer:
            claimer.do("claim = registry.claim('w')")
            claimer.kill_unreaped()
            with registry.claim("w", timeout=0):
                assert numbers(registry) == [os.getpid()]


@pytest.mark.parametrize("patience", [0, 0.5, 2])
def test_a_stopped_registrar_takes_no_more_patience_than_there_is(
    opener: Opener, registry_folder: Path, patience: float
) -> None:
    """A claim on a registrar that does not answer ends with its own timeout, and where that is shorter than an answer
    takes, after a second: not with the longer timeout that the registry has for all calls."""
    registry = opener(timeout=60)
    registry.register("w")
    with stopped(registry_folder):
        began = time.monotonic()
        with pytest.raises(Timeout):
            registry.claim("w", timeout=patience)
        assert time.monotonic() - began < 30


def test_first_come_first_served(registry: Registry) -> None:
    """Claims that wait get the slots in the order in which they came, whatever their conditions are."""
    registry.register("w", capabilities={"x"})
    claim = registry.claim("w")
    ways = ["'w'", "capability='x'", "", "'w', timeout=99"]
    agents = [Agent(registry.folder) for _ in ways]
    try:
        for agent, way in zip(agents, ways, strict=True):
            wait_for_slot(agent, f"registry.claim({way})")
        claim.release()
        for agent in agents:
            agent.do("waiting.result(9)")
            assert numbers(registry) == [agent.pid]
            agent.do("waiting.result().release()")
    finally:
        for agent in agents:
            agent.close()


def test_a_waiting_claimer_that_dies_leaves_the_queue(registry: Registry) -> None:
    """A process that is killed, or interrupted, or whose time passes while it waits gets no slot; the next one does."""
    registry.register("w")
    claim = registry.claim("w")
    with Agent(registry.folder) as killed, Child(_interrupted, registry.folder) as interrupted:
        interrupted.expect("waiting")
        wait_for_slot(killed)
        with Agent(registry.folder) as late, Agent(registry.folder) as last:
            with pytest.raises(adsum.Timeout):
                late.do("registry.claim('w', timeout=0.3)")
            wait_for_slot(last)
            killed.kill()
            interrupted.signal(signal.SIGINT)
            interrupted.expect("interrupted")
            claim.release()
            assert last.value("waiting.result(9).entry.claims[0].pid") == last.pid
            last.do("waiting.result().release()")
            registry.claim("w", timeout=0).release()


def _interrupted(folder: str) -> None:
    with adsum.open(path=folder, timeout=10) as registry:
        import threading

        from tests.support.internals import queued_calls

        def tell() -> None:
            eventually(lambda: queued_calls(registry) == 1)
            print("waiting")

        threading.Thread(target=tell).start()
        try:
            registry.claim("w")
        except KeyboardInterrupt:
            # Sent after the end of the claim, on the same connection.
            registry.register_nowait("sign").result()
            print("interrupted")
        input()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("registry.unregister('w')", "registry.register('w', capabilities={'x'})"),
        ("registry.claim('w')", "registry.update('w', slots=2)"),
        ("registry.update_health('w', 'degraded')", "registry.update_health('w', 'healthy')"),
        ("registry.update('w', capabilities={'y'})", "registry.update('w', capabilities={'y', 'x'})"),
        ("registry.claim('w')", "registry.register('w', replace=True, capabilities={'x'})"),
    ],
    ids=["registers", "slots", "health", "capability", "anew"],
)
def test_changes_of_members_grant_waiting_claims(before: str, after: str, registry: Registry) -> None:
    """A claim that waits gets a slot of a member that registers, becomes healthy, or gets what the claim asks for."""
    registry.register("w", capabilities={"x"})
    eval(before)
    with Agent(registry.folder) as claimer:
        wait_for_slot(claimer, "registry.claim(capability='x')")
        eval(after)
        claimer.do("waiting.result(9)")
        assert claimer.pid in numbers(registry)


def test_a_member_that_ends_ends_the_wait_for_it(registry: Registry) -> None:
    """A claim on one id that waits fails when the member ends; a claim by conditions waits for another member."""
    with Agent(registry.folder) as member, Agent(registry.folder) as by_id, Agent(registry.folder) as by_type:
        member.do("registry.register('w', type='service')")
        held = registry.claim("w")
        wait_for_slot(by_id)
        wait_for_slot(by_type, "registry.claim(type='service')")
        member.kill()
        with pytest.raises(NotRegistered):
            by_id.do("waiting.result(9)")
        registry.register("v", type="service")
        assert by_type.value("waiting.result(9).process_id.local_id") == "v"
        assert held.release() is False


def test_an_id_is_never_free_between_two_holders(registry: Registry) -> None:
    """A standby takes over an id, with no claims, and a claim that waited for the id gets a slot of it."""
    with Agent(registry.folder) as member, Agent(registry.folder) as successor, Agent(registry.folder) as claimer:
        member.do("registry.register('w')")
        registry.claim("w")
        successor.do("standby = registry.stand_by('w')")
        wait_for_slot(claimer)
        member.kill()
        assert claimer.value("waiting.result(9).entry.pid") == successor.pid
        assert numbers(registry) == [claimer.pid]


@pytest.mark.parametrize("end", [kill_registrar, end_registrar])
def test_claims_outlive_the_registrar(end: object, registry: Registry) -> None:
    """Slots that are held stay held under the next registrar; those of claimers that died meanwhile are free; claims
    that wait keep their order, and their releases are known."""
    registry.register("w", slots=2)
    held = registry.claim("w")
    with Agent(registry.folder) as dying, Agent(registry.folder) as first, Agent(registry.folder) as second:
        dying.do("claim = registry.claim('w')")
        wait_for_slot(first)
        wait_for_slot(second)
        # With both of them stopped, no request starts the next registrar before the claimer is dead.
        for agent in (first, second):
            agent.stop()
        assert callable(end)
        assert end(registry.folder) is not None
        dying.kill()
        assert numbers(registry) == [os.getpid(), dying.pid]
        for agent in (first, second):
            agent.resume()
        first_or_second = eventually(lambda: [pid for pid in numbers(registry) if pid not in (os.getpid(), dying.pid)])
        assert first_or_second[0] in (first.pid, second.pid)
        assert held.release() is True
        for agent in (first, second):
            agent.do("waiting.result(9)")
        assert sorted(numbers(registry)) == sorted([first.pid, second.pid])


def test_the_order_outlives_the_registrar(registry: Registry) -> None:
    """Claims that wait keep their queue positions when the registrar is killed, whichever comes back first."""
    registry.register("w")
    held = registry.claim("w")
    agents = [Agent(registry.folder) for _ in range(4)]
    try:
        for agent in agents:
            wait_for_slot(agent)
        for agent in agents:
            agent.stop()
        assert kill_registrar(registry.folder) is not None
        registry.update("w", endpoint="e")
        for agent in reversed(agents):
            agent.resume()
            # A request of its own; the claim was sent again before it.
            agent.do("registry.register_nowait(f'sign-{os.getpid()}').result()")
        held.release()
        for agent in agents:
            agent.do("waiting.result(9)")
            assert numbers(registry) == [agent.pid]
            agent.do("waiting.result().release()")
    finally:
        for agent in agents:
            agent.resume()
            agent.close()


# 200 tasks


WORKERS, SLOTS, PLANNERS, TASKS = 8, 2, 4, 200


def _plan(folder: str, journal: str, tasks: str) -> None:
    """A planner: claims a worker for each task, and writes the beginning and the end of it into the journal."""
    file = os.open(journal, os.O_WRONLY | os.O_APPEND)
    with adsum.open(path=folder, timeout=30) as registry:
        for task in tasks.split(","):
            with registry.claim(capability="work") as claim:
                os.write(file, f"+ {task} {claim.process_id.local_id} {claim.number} {os.getpid()}\n".encode())
                time.sleep(0.002)
                os.write(file, f"- {task} {claim.process_id.local_id} {claim.number} {os.getpid()}\n".encode())
    print("done")


def test_two_hundred_tasks(registry: Registry, tmp_path: Path) -> None:
    """200 tasks by 4 planners over 8 workers with 2 slots, planners and the registrar killed at random: never more than
    2 at once on a worker, no task lost, and no slot left behind."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}", file=sys.stderr)
    chance = random.Random(seed)
    journal = tmp_path / "journal"
    journal.touch()
    for number in range(WORKERS):
        registry.register(f"w-{number}", capabilities={"work"}, slots=SLOTS)
    left = {str(task) for task in range(TASKS)}
    killed = registrars = 0
    planners: list[Child] = []
    until = time.monotonic() + 120
    try:
        while left:
            assert time.monotonic() < until, f"{len(left)} tasks are left after {killed} kills"
            running = [planner for planner in planners if planner.process.poll() is None]
            for planner in set(planners) - set(running):
                planner.close()
            planners = running
            left -= _done(journal)
            if not planners and left:
                shares = [sorted(left, key=int)[place::PLANNERS] for place in range(PLANNERS)]
                planners = [Child(_plan, registry.folder, journal, ",".join(share)) for share in shares if share]
            time.sleep(chance.uniform(0.01, 0.3))
            _check(registry, journal)
            if planners and killed < 6 and chance.random() < 0.5:
                # It may be starting, waiting, or holding a slot.
                chance.choice(planners).kill()
                killed += 1
            if registrars < 4 and chance.random() < 0.3:
                registrars += kill_registrar(registry.folder) is not None
        for planner in planners:
            planner.close()
        _check(registry, journal)
        eventually(lambda: all(not entry.claims for entry in registry.values()))
    finally:
        for planner in planners:
            planner.close()


def _done(journal: Path) -> set[str]:
    return {line.split()[1] for line in journal.read_text().splitlines() if line.startswith("-")}


def _check(registry: Registry, journal: Path) -> None:
    """Never more than `SLOTS` at once: in the entries; and in the journal, of which the lines of a killed planner end
    where it was killed, at the latest when another one got its slot."""
    for entry in registry.values():
        assert len(entry.claims) <= SLOTS, entry.claims
        assert len({record.number for record in entry.claims}) == len(entry.claims)
    working: dict[str, dict[str, int]] = {}
    for line in journal.read_text().splitlines():
        sign, _, worker, number, pid = line.split()
        at_work = working.setdefault(worker, {})
        if sign == "-":
            at_work.pop(number, None)
            continue
        if len(at_work) == SLOTS:
            # A planner that is at work, and was killed, has lost its slot.
            at_work = working[worker] = {one: owner for one, owner in at_work.items() if is_alive(owner)}
        at_work[number] = int(pid)
        assert len(at_work) <= SLOTS, f"{worker} has {at_work}"
