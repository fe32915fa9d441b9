"""A `Registration`: an entry identified by its incarnation, a context manager, and a handle to hand over."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from adsum import DeadProcess, NotRegistered, Registry, Stale
from tests.support import Agent, Child


@pytest.fixture
def child() -> Iterator[Child]:
    with Child("input()") as started:
        yield started


def test_it_follows_its_own_updates(either: Registry) -> None:
    """`entry` is the entry after the last call through the registration."""
    registration = either.register("a")
    assert registration.update(endpoint="x") == registration.entry == either["a"]
    assert registration.update_health("degraded") == registration.entry == either["a"]
    assert registration.unregister() is True
    assert registration.unregister() is False


def test_what_was_unregistered_cannot_be_updated_through_it(either: Registry) -> None:
    """After unregistration, updates through the registration raise `NotRegistered`."""
    registration = either.register("a")
    registration.unregister()
    with pytest.raises(NotRegistered):
        registration.update(endpoint="x")
    with pytest.raises(NotRegistered):
        registration.update_health("healthy")


def test_the_block_unregisters(either: Registry) -> None:
    """As a context manager, a registration unregisters at the end of the block."""
    with either.register("a") as registration:
        assert either["a"] == registration.entry
    assert either.lookup("a") is None


def test_the_block_unregisters_after_an_error(either: Registry) -> None:
    """The block's own error is raised, and the entry is removed."""
    with pytest.raises(ZeroDivisionError), either.register("a"):
        raise ZeroDivisionError
    assert either.lookup("a") is None


def test_a_block_that_unregistered_already(either: Registry) -> None:
    """Unregistering inside the block is no error."""
    with either.register("a") as registration:
        assert registration.unregister()


def test_a_block_leaves_another_holder_alone(either: Registry) -> None:
    """If another process holds the id at the end of the block, the block ends without an error and leaves the entry."""
    with either.register("a"):
        either.unregister("a")
        other = either.register("a").entry
    assert either["a"] == other


def test_a_block_after_close_hides_no_error(either: Registry) -> None:
    """If both the block and the unregistration fail, the block's error is raised."""

    def close_and_fail() -> None:
        either.close()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), either.register("a"):
        close_and_fail()


def test_a_hand_over_is_a_new_incarnation_of_another_process(either: Registry, child: Child) -> None:
    """A hand-over gives the id to another process until that dies, with a new incarnation and the same metadata."""
    registration = either.register("a", capabilities={"x"}, endpoint="here")
    before = registration.entry
    after = registration.hand_over(child.process)
    assert (after.pid, after.metadata) == (child.pid, before.metadata)
    assert after.incarnation == after.revision == before.revision + 1
    assert either.find(capability="x") == [after]
    assert either.audit() == []
    child.kill()
    assert either.lookup("a") is None


def test_a_registration_is_stale_after_a_hand_over(either: Registry, child: Child) -> None:
    """After a hand-over, calls through the old registration raise `Stale`."""
    registration = either.register("a")
    after = registration.hand_over(child.pid)
    for call in (
        lambda: registration.update(endpoint="x"),
        lambda: registration.unregister(),
        lambda: registration.hand_over(child.pid),
    ):
        with pytest.raises(Stale):
            call()
    assert either["a"] == after


def test_a_block_that_handed_over_leaves_the_entry(either: Registry, child: Child) -> None:
    """A block in which the id was handed over leaves the new holder's entry."""
    with either.register("a") as registration:
        after = registration.hand_over(child.pid)
    assert either["a"] == after


def test_an_id_is_never_free_while_handed_over(registry: Registry, child: Child) -> None:
    """A thread that reads all the time finds a holder at every moment of many hand-overs."""
    registration = registry.register("a")
    missed: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            if registry.lookup("a") is None or not registry.find():
                missed.append(1)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        with Child("input()") as other:
            for turn in range(100):
                registration.entry = registration.hand_over((child, other)[turn % 2].pid)
            # The id returns before the other process dies: after that, a miss would be correct.
            registration.hand_over(child.pid)
            done.set()
            looking.join()
    finally:
        done.set()
        looking.join()
    assert missed == []


def test_nothing_is_handed_to_the_dead(either: Registry, child: Child) -> None:
    """A hand-over to an exited process raises `DeadProcess`, also for a zombie; the holder keeps the entry."""
    registration = either.register("a")
    child.kill_unreaped()
    with pytest.raises(DeadProcess, match="only a living process"):
        registration.hand_over(child.pid)
    assert either["a"] == registration.entry


def test_nothing_is_handed_to_a_thread(either: Registry) -> None:
    """A thread can register itself, but an id can be handed over to processes only."""
    registration = either.register("a")
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with pytest.raises(TypeError, match="to another process"):
            registration.hand_over(thread)  # type: ignore[arg-type]
    finally:
        done.set()
        thread.join()
    assert either["a"] == registration.entry


def test_what_is_gone_cannot_be_handed_over(either: Registry, child: Child) -> None:
    """`hand_over` raises `NotRegistered` after unregistration, and `Stale` if the id has another holder."""
    registration = either.register("a")
    either.unregister("a")
    with pytest.raises(NotRegistered):
        registration.hand_over(child.pid)
    either.register("a")
    with pytest.raises(Stale):
        registration.hand_over(child.pid)


def test_it_acts_on_behalf_of_another_process(either: Registry) -> None:
    """A registration made for another process works as the caller's own does, until that process dies."""
    with Agent(either.folder) as agent:
        registration = either.register("a", agent.pid)
        assert registration.update(endpoint="x").pid == agent.pid
        agent.kill()
        with pytest.raises(NotRegistered):
            registration.update(endpoint="y")
        assert registration.unregister() is False


def test_its_text_names_it(either: Registry) -> None:
    """`repr` shows the id and the incarnation."""
    registration = either.register(("ns", "node", "a"))
    assert f"ns/node/a incarnation={registration.entry.incarnation}" in repr(registration)
