"""Processes of both versions on one registry: what each of them may do, and what a member of the old version loses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import adsum
from adsum import Limits, VersionMismatch, admin
from adsum._client.launch import Launch
from adsum._client.spawn import start_registrar
from adsum._store import page as pages
from tests.support import Agent, eventually, kill_registrar, registrar_pid

OldAgent = Callable[[], Agent]


def format_of(folder: Path) -> int:
    page = pages.peek(folder)
    assert page is not None
    return page.format


@pytest.mark.parametrize("alive", [True, False], ids=["registrar", "no registrar"])
def test_a_write_is_refused_while_a_member_lives(alive: bool, old_agent: OldAgent, registry_folder: Path) -> None:
    """A process of this version that had opened the folder before the registry was made cannot write to it. The error
    names the member and the remedy. Nothing is migrated without the operator, whether or not a registrar serves."""
    with adsum.open(path=registry_folder, timeout=10) as registry:
        old = old_agent()
        old.do("registry.register('planner')")
        former = registrar_pid(registry_folder)
        if not alive:
            kill_registrar(registry_folder)
        refusal = rf"default/\w+/planner \(pid {old.pid}\).*adsum registrar --replace"
        for call in (lambda: registry.register("b"), lambda: registry.lookup("planner"), registry.find):
            with pytest.raises(VersionMismatch, match=refusal):
                call()
        assert format_of(registry_folder) == 1
        assert registrar_pid(registry_folder) == (former if alive else None)
        assert old.value("registry['planner'].pid") == old.pid


@pytest.mark.parametrize("alive", [True, False], ids=["registrar", "no registrar"])
def test_a_write_is_refused_while_a_reader_has_it_open(alive: bool, old_agent: OldAgent, registry_folder: Path) -> None:
    """A process of the older version has the registry open and no entry in it. A read finds nothing; a write is refused
    and names that process. When it has exited, the first write makes the registry anew."""
    with old_agent() as member:
        member.do("registry.register('gone')")
    reader = old_agent()
    reader.do("registry.find()")
    if not alive:
        kill_registrar(registry_folder)
    with adsum.open(path=registry_folder, timeout=20) as registry:
        assert registry.find() == []
        with pytest.raises(VersionMismatch, match=rf"\(pid {reader.pid}\); run adsum registrar --replace"):
            registry.register("b")
        assert format_of(registry_folder) == 1
        reader.close()
        assert registry.register("b").entry.incarnation == 1


def test_many_may_make_it_anew_at_once(old_agent: OldAgent, registry_folder: Path) -> None:
    """Processes and threads of this version that look at the older tables at the same time never take each other for
    readers of the older version: every write succeeds."""
    with old_agent() as member:
        member.do("registry.register('gone')")
    agents = [Agent(registry_folder, timeout=20) for _ in range(3)]
    statements = """if True:
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(registry.register, [f"{os.getpid()}-{i}" for i in range(4)]))
    """
    try:
        errors: list[BaseException] = []

        def write(agent: Agent) -> None:
            try:
                agent.do(statements)
            except BaseException as error:  # noqa: BLE001 - it is shown below
                errors.append(error)

        threads = [threading.Thread(target=write, args=(agent,)) for agent in agents]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        with adsum.open(path=registry_folder, timeout=10) as registry:
            assert registry.count() == 12
    finally:
        for agent in agents:
            agent.close()


def test_a_registrar_that_an_operator_starts_migrates(old_agent: OldAgent, registry_folder: Path) -> None:
    """Where the old registrar has died, a registrar of this version that is started explicitly migrates the tables."""
    old = old_agent()
    old.do("registry.register('a')")
    kill_registrar(registry_folder)
    assert start_registrar(registry_folder, Launch(Limits()), time.monotonic() + 10)
    with adsum.open(path=registry_folder, timeout=10) as registry:
        assert registry["a"].pid == old.pid


def test_a_thread_of_the_older_version_stays_registered_until_its_session_ends(
    old_agent: OldAgent, registry_folder: Path
) -> None:
    """The entry of a thread is bound to a session, and carried over. The end of the thread alone cannot be reported by
    a process of the older version; that the process closes the registry, or dies, is noticed without its help."""
    closing, dying = old_agent(), old_agent()
    for old, name in ((closing, "closing"), (dying, "dying")):
        old.do(
            "import threading\n"
            "over = threading.Event()\n"
            "thread = threading.Thread(target=over.wait, daemon=True)\n"
            "thread.start()\n"
            f"registry.register({name!r}, thread)\n"
        )
    admin.replace_registrar(registry_folder, timeout=20)
    with adsum.open(path=registry_folder, timeout=10) as registry:
        for old, name in ((closing, "closing"), (dying, "dying")):
            old.do("over.set(); thread.join()")
            assert registry[name].pid == old.pid
        dying.kill()
        assert registry.lookup("dying") is None
        closing.do("registry.close()")
        eventually(lambda: registry.stats().entries == 0)


def test_a_promised_heartbeat_of_the_older_version_is_missed(old_agent: OldAgent, registry_folder: Path) -> None:
    """A member of the older version cannot send its heartbeat to the new registrar, and shows as unhealthy."""
    old = old_agent()
    old.do("registry.register('a', heartbeat=0.2)")
    admin.replace_registrar(registry_folder, timeout=20)
    with adsum.open(path=registry_folder, timeout=10) as registry:
        eventually(lambda: registry["a"].metadata.health_status == "unhealthy")
        assert registry["a"].health_source == "registrar"
