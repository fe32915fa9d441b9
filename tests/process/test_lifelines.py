"""The lifeline of a member's process: intact, it proves that the process lives; broken, it proves nothing."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import Registry
from adsum._os import identity, robust_mutex
from adsum._store import lifelines
from adsum._store.lifelines import BROKEN, NONE, find, is_intact
from adsum._store.page_layout import LIFELINE_WORDS, LIFELINES, LIFELINES_AT
from adsum.model import Owner

from ..support import Agent, eventually
from ..support.internals import count_questions, lifelines_of

REGISTER = "registry.register('agent', capabilities={'talking'})"


@pytest.fixture
def agent(registry_folder: Path) -> Iterator[Agent]:
    """A process that registered itself as "agent"."""
    with Agent(registry_folder) as one:
        one.do(REGISTER)
        yield one


def seen(registry: Registry) -> bool:
    """Whether the agent is found. `lookup` and `find` must agree."""
    entry, found = registry.lookup("agent"), registry.find(capability="talking")
    assert found == ([entry] if entry is not None else [])
    return entry is not None


def owner_of(registry: Registry) -> Owner:
    return registry["agent"].owner


def test_no_read_of_a_living_member_asks_the_kernel(registry: Registry, agent: Agent) -> None:
    """The first read and the later ones know from memory that a member lives which registered itself."""
    questions = count_questions(registry)
    assert seen(registry)
    assert seen(registry)
    assert questions == []


def test_a_lifeline_breaks_before_the_kernel_reports_the_death(registry: Registry, agent: Agent) -> None:
    """When the pidfd of a member is readable, its lifeline is broken: no reader takes it for alive."""
    assert seen(registry)
    owner = owner_of(registry)
    assert is_intact(lifelines_of(registry), owner)
    agent.kill_unreaped()
    assert find(lifelines_of(registry), owner) == BROKEN
    assert not seen(registry)


def test_a_process_goes_on_after_an_exec(registry: Registry, registry_folder: Path) -> None:
    """An exec breaks the lifeline; the member lives on, and is found."""
    program = (
        "import adsum, os, sys;"
        f"adsum.open(path={str(registry_folder)!r}).register('agent', capabilities=['talking']);"
        "os.execvp('sh', ['sh', '-c', 'echo changed; read line'])"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"changed\n"
        assert seen(registry)
        questions = count_questions(registry)
        assert seen(registry)
        assert questions, "the lifeline is intact"
        process.kill()
        process.wait()
        assert not seen(registry)


def test_a_process_outlives_the_thread_that_registered_it(registry: Registry, registry_folder: Path) -> None:
    """The thread that registered ends: the member is found, and has a lifeline again from its next registration on."""
    with Agent(registry_folder) as agent:
        agent.do("import threading")
        agent.do(f"thread = threading.Thread(target=lambda: {REGISTER}); thread.start(); thread.join()")
        assert seen(registry)
        owner = owner_of(registry)
        eventually(lambda: find(lifelines_of(registry), owner) == BROKEN)
        assert seen(registry)
        agent.do("other = registry.register('other')")
        assert is_intact(lifelines_of(registry), owner)


def test_a_child_does_not_keep_the_lifeline_of_its_parent(registry: Registry, registry_folder: Path) -> None:
    """A forked child lives on when the member dies: the member is gone, and the child holds one of its own."""
    with Agent(registry_folder) as agent:
        agent.do(REGISTER)
        agent.do("import os, signal; pid = os.fork()\nif not pid: signal.pause()")
        child = os.pidfd_open(agent.value("pid"))
        try:
            assert seen(registry)
            agent.kill()
            assert not seen(registry)
        finally:
            signal.pidfd_send_signal(child, signal.SIGKILL)
            os.close(child)


def test_a_stamp_of_the_own_thread_number_is_left_alone(registry: Registry) -> None:
    """A thread never takes a lifeline whose stamp has its own number: a reader could take it for the earlier holder."""
    mine = threading.get_native_id()
    registry.register("first")
    held = next(iter(lifelines._held.values()))
    other = (identity.current().pid + 1) % LIFELINES * LIFELINE_WORDS
    held.mapped.words[LIFELINES_AT + other + 5] = 7 << 32 | mine
    mutexes = robust_mutex.available()
    assert mutexes is not None
    # The first is held, the second has the number; the third is free.
    taken = lifelines._take(mutexes, held.mapped)
    assert taken is not None
    assert taken.mutex_at == (identity.current().pid + 2) % LIFELINES * LIFELINE_WORDS
    mutexes.let_go(held.mapped.address + 8 * (LIFELINES_AT + taken.mutex_at))


def test_where_all_are_taken_the_kernel_is_asked(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that gets no lifeline is a member like others."""
    monkeypatch.setattr(lifelines, "_take", lambda *_: None)
    registry.register("agent", capabilities={"talking"})
    assert find(lifelines_of(registry), identity.current()) == NONE
    assert seen(registry)


def test_no_lifeline_is_held_where_the_kernel_breaks_none(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system whose kernel does not break them, readers ask it, as before."""
    monkeypatch.setattr(robust_mutex, "available", lambda: None)
    registry.register("agent", capabilities={"talking"})
    assert find(lifelines_of(registry), identity.current()) == NONE
    assert seen(registry)


def test_garbage_in_a_lifeline_harms_its_own_process_only(registry: Registry, agent: Agent) -> None:
    """Whatever a process writes into its lifeline, others are found as before, and it is asked for by pidfd."""
    seed = random.randrange(2**32)
    print("seed", seed)
    numbers = random.Random(seed)
    registry.register("other")
    assert seen(registry)
    agent.do("from adsum._store import lifelines")
    agent.do("held = next(iter(lifelines._held.values())); at = held.lifeline.mutex_at")
    for _ in range(20):
        word, value = numbers.randrange(3, LIFELINE_WORDS), numbers.getrandbits(64)
        agent.do(f"held.mapped.words[lifelines.LIFELINES_AT + at + {word}] = {value}")
        assert seen(registry)
        assert "other" in registry
    agent.kill()
    assert not seen(registry)


def test_a_removed_registry_leaves_no_mapped_board(tmp_path: Path) -> None:
    """A process that registers in one registry after the other, and removes each, keeps one board mapped at most."""
    for number in range(5):
        folder = tmp_path / str(number)
        with adsum.open(path=folder) as registry:
            registry.register("agent").unregister()
        shutil.rmtree(folder)
    with adsum.open(path=tmp_path / "last") as registry:
        registry.register("agent").unregister()
        assert len([held for held in lifelines._held.values() if held.path.is_relative_to(tmp_path)]) == 1


def test_a_board_that_was_truncated_harms_no_later_registry(tmp_path: Path) -> None:
    """Memory behind the end of a truncated file is never touched again, which would end the process."""
    with Agent(tmp_path / "one") as agent:
        agent.do("held = registry.register('agent'); import adsum, os, shutil")
        agent.do("registry.close()")
        agent.do(f"os.truncate({str(tmp_path / 'one' / 'board')!r}, 0); shutil.rmtree({str(tmp_path / 'one')!r})")
        agent.do(f"other = adsum.open(path={str(tmp_path / 'two')!r}); other.register('agent'); other.close()")


def test_threads_that_begin_at_once_hold_one_lifeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second lifeline of a process would be unmapped together with the first, while its thread still holds it."""
    taken: list[object] = []
    take = lifelines._take

    def noted(*given: Any) -> object:
        taken.append(given)
        return take(*given)

    monkeypatch.setattr(lifelines, "_take", noted)
    both_registered = threading.Barrier(3)

    def register(name: str) -> None:
        registry.register(name)
        both_registered.wait(10)

    with adsum.open(path=tmp_path / "registry") as registry:
        registry.register("first", os.getppid())
        # Both threads find that none is held, and wait for the lock.
        lifelines._lock.acquire()
        try:
            threads = [threading.Thread(target=register, args=(f"agent-{n}",)) for n in range(2)]
            for thread in threads:
                thread.start()
            eventually(lambda: all(_waits_for_the_lock(thread) for thread in threads))
        finally:
            lifelines._lock.release()
        both_registered.wait(10)
        for thread in threads:
            thread.join()
        assert len(taken) == 1


def _waits_for_the_lock(thread: threading.Thread) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_code.co_name == "holding" and frame.f_locals.get("lock") is lifelines._lock
