"""A wait for an end is no matter of the registrar: readers see a death themselves."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import adsum
from adsum import Registry, Timeout
from adsum._client.dial import START_SECONDS
from tests.support import WITHIN, Agent, Opener, end_registrar, eventually, kill_registrar, stopped


def after(seconds: float, call: Callable[[], object]) -> Callable[[], object]:
    def run() -> None:
        time.sleep(seconds)
        call()

    return run


@contextmanager
def meanwhile(call: Callable[[], object]) -> Iterator[None]:
    """Make a call in a thread while the block runs. Its error is raised at the end."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised below
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failed:
        raise failed[0]


@pytest.mark.parametrize("begun", ["before", "meanwhile"])
def test_a_death_is_seen_while_the_registrar_is_stopped(opener: Opener, begun: str) -> None:
    """`wait_until_gone` ends with the process although the registrar is stopped: before the wait began, or during it.
    That holds also where the registrar never answers, and after the time that a call waits for one."""
    waiting = opener()
    waiting.register("first")
    with Agent(waiting.folder) as agent:
        agent.do("registry.register('w')")
        entry = waiting["w"]
        if begun == "before":
            with stopped(waiting.folder), meanwhile(after(0.5, agent.kill)):
                assert waiting.wait_until_gone("w", timeout=60) == entry
        else:
            released = threading.Event()

            def stop_and_kill() -> None:
                watches = waiting._client.watches
                eventually(lambda: any(getattr(watch, "_is_connected", False) for watch in list(watches)))
                with stopped(waiting.folder):
                    agent.kill()
                    assert released.wait(WITHIN), "the wait did not end while the registrar was stopped"

            with meanwhile(stop_and_kill):
                assert waiting.wait_until_gone("w", timeout=60) == entry
                released.set()
        assert "w" not in waiting


def test_a_wait_outlasts_a_registrar_that_does_not_answer(registry: Registry) -> None:
    """A wait that a stopped registrar does not answer goes on for its own timeout, and says then what it waited for."""
    registry.register("w")
    with adsum.open(path=registry.folder) as other, stopped(registry.folder):
        begun = time.monotonic()
        with pytest.raises(Timeout, match="/w was still registered"):
            other.wait_until_gone("w", timeout=1.5)
        assert time.monotonic() - begun >= 1.5


def test_a_wait_without_bound_outlasts_it_too(opener: Opener) -> None:
    """Without a timeout it outlasts the time within which a registrar has to answer."""
    waiting = opener()
    with Agent(waiting.folder) as agent:
        agent.do("registry.register('w')")
        with stopped(waiting.folder), meanwhile(after(START_SECONDS + 2, agent.kill)):
            gone = waiting.wait_until_gone("w")
        assert gone is not None
        assert gone.pid == agent.pid


def test_a_death_is_seen_where_no_registrar_can_be_started(opener: Opener) -> None:
    """`wait_until_gone` ends with the process where the registrar is gone and none can be started."""
    waiting = opener(registrar_command=[sys.executable, "-c", "raise SystemExit(1)"])
    with Agent(waiting.folder) as agent:
        agent.do("registry.register('w')")
        agent.do("registry.close()")
        entry = waiting["w"]
        end_registrar(waiting.folder)

        with meanwhile(after(1.0, agent.kill)):
            assert waiting.wait_until_gone("w", timeout=60) == entry


def test_the_registrar_is_asked_again(opener: Opener) -> None:
    """A wait that found no registrar hears from the next one: an end that is no death is seen."""
    waiting = opener()
    with Agent(waiting.folder) as agent:
        agent.do("registration = registry.register('w')")
        kill_registrar(waiting.folder)
        with meanwhile(after(0.5, lambda: agent.do("registration.unregister()"))):
            assert waiting.wait_until_gone("w", timeout=60) is not None
