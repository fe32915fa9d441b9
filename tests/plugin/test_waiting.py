"""The fixture `eventually`: waiting with a bound, and what a failure says."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator

import pytest

import adsum
from adsum.testing import Eventually, MemberFactory


def test_it_returns_the_first_true_value(eventually: Eventually) -> None:
    """The value of the condition comes back once it is true."""
    values: Iterator[object] = iter([0, "", None, [], "there"])
    assert eventually(lambda: next(values)) == "there"


def test_it_waits_for_another_thread(eventually: Eventually) -> None:
    """The condition is asked again until something else has made it true."""
    event = threading.Event()
    timer = threading.Timer(0.05, event.set)
    timer.start()
    assert eventually(event.is_set)
    timer.join()


def test_a_failed_assertion_counts_as_not_yet(eventually: Eventually) -> None:
    """A condition may consist of assertions, and the last one that failed is in the report."""
    numbers = iter(range(100))

    def three() -> bool:
        assert next(numbers) == 3, "not three yet"
        return True

    assert eventually(three)
    with pytest.raises(AssertionError, match="not three yet") as raised:
        eventually(three, within=0.05)
    assert isinstance(raised.value.__cause__, AssertionError)


def test_an_absent_member_counts_as_not_yet(adsum_registry: adsum.Registry, eventually: Eventually) -> None:
    """A condition may read a member that is not registered yet."""
    timer = threading.Timer(0.05, adsum_registry.register, ("late",))
    timer.start()
    assert eventually(lambda: adsum_registry["late"].metadata.health_status == "healthy")
    timer.join()


def test_another_error_ends_the_wait(eventually: Eventually) -> None:
    """A mistake in the condition is not waited out."""
    with pytest.raises(ZeroDivisionError):
        eventually(lambda: 1 / 0)


def test_the_failure_says_what_was_seen(
    adsum_registry: adsum.Registry, adsum_member: MemberFactory, eventually: Eventually
) -> None:
    """The report has the condition's text, its last value, the members and the latest departures."""
    adsum_member("alive", capabilities={"counting"})
    adsum_member("dead").kill()
    eventually(lambda: adsum_registry.departures(1)[0].exit == -9)
    with pytest.raises(AssertionError) as raised:
        eventually(lambda: adsum_registry.count() == 2, within=0.05)
    said = str(raised.value)
    assert said.startswith("not true within 0.05 s: eventually(lambda: adsum_registry.count() == 2")
    assert re.search(r"called \d+ times; the last value was False", said)
    assert re.search(r"members of adsum_registry: 1\n +\S+/alive: pid \d+, agent, healthy, can counting", said)
    assert re.search(r"/dead died \S+ ago, killed by SIGKILL", said)


def test_without_a_registry_none_is_made(eventually: Eventually, request: pytest.FixtureRequest) -> None:
    """A test that has no registry gets a report about its condition alone."""
    with pytest.raises(AssertionError) as raised:
        eventually(int, within=0.02)
    assert "adsum_registry" not in str(raised.value)
    assert "adsum_dir" not in request.fixturenames


async def test_the_event_loop_goes_on(eventually: Eventually) -> None:
    """In a coroutine the wait is awaited, and other tasks run meanwhile."""
    event = asyncio.Event()
    task = asyncio.create_task(_set_later(event))
    assert await eventually.awaited(event.is_set)
    assert await eventually.awaited(lambda: asyncio.sleep(0, "a value"))
    await task
    with pytest.raises(AssertionError, match="the last value was 0"):
        await eventually.awaited(lambda: asyncio.sleep(0, 0), within=0.02)


async def _set_later(event: asyncio.Event) -> None:
    await asyncio.sleep(0.02)
    event.set()
