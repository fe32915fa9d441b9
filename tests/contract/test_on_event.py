"""`watch(on_event=...)`: a function that is called for each event."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import Event, Registry
from tests.support import eventually, kill_registrar


class Recorder:
    """Records its calls; raises an error for the events of `failing`."""

    def __init__(self, failing: str = "") -> None:
        self.calls: list[tuple[str, str]] = []
        self.threads: set[str] = set()
        self._failing = failing

    def __call__(self, event: Event) -> None:
        assert event.entry is not None
        self.calls.append((event.kind.value, event.entry.process_id.local_id))
        self.threads.add(threading.current_thread().name)
        if event.entry.process_id.local_id == self._failing:
            raise ZeroDivisionError("on purpose")


def test_the_function_gets_every_event_in_order(registry: Registry) -> None:
    """A thread of the watch calls the function for each event that matches, in order, also after the registrar died."""
    recorder = Recorder()
    with registry.watch(on_event=recorder, type="agent") as watch:
        for name in "abc":
            registry.register(name)
        registry.register("other", type="service")
        kill_registrar(registry.folder)
        registry.unregister("b")
        eventually(lambda: len(recorder.calls) == 4)
    assert recorder.calls == [("registered", "a"), ("registered", "b"), ("registered", "c"), ("unregistered", "b")]
    assert recorder.threads == {"adsum-watch"}
    assert "closed" in repr(watch)


def test_an_error_goes_to_the_log(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """An error of the function is logged with its traceback, and the next event follows."""
    recorder = Recorder(failing="a")
    with registry.watch(on_event=recorder), caplog.at_level(logging.ERROR, "adsum"):
        registry.register_many([("a", {}), ("b", {})])
        eventually(lambda: len(recorder.calls) == 2)
    assert "on_event= failed on registered at revision 1" in caplog.text
    assert "ZeroDivisionError: on purpose" in caplog.text


def test_an_exit_in_the_function_ends_no_watch(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """`sys.exit` in the function is logged as its errors are: it would end the thread alone, and the watch with it."""
    seen = []

    def leave(event: adsum.Event) -> None:
        seen.append(event.revision)
        sys.exit(1)

    with registry.watch(on_event=leave), caplog.at_level(logging.ERROR, "adsum"):
        registry.register_many([("a", {}), ("b", {})])
        eventually(lambda: len(seen) == 2)
    assert "on_event= failed on registered at revision 1" in caplog.text


def test_an_error_of_the_condition_ends_nothing(
    registry: Registry, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of `where` is logged, and the same change comes again a moment later."""
    monkeypatch.setattr("adsum._event_delivery.REPEAT_SECONDS", 0.01)
    failures = [ZeroDivisionError("once"), ZeroDivisionError("twice")]

    def where(_entry: adsum.Entry) -> bool:
        if failures:
            raise failures.pop()
        return True

    recorder = Recorder()
    with registry.watch(on_event=recorder, where=where):
        registry.register("a")
        eventually(lambda: len(recorder.calls) == 1)
    assert caplog.text.count("cannot go on now, and tries again") == 2


def test_after_close_no_call_begins(registry: Registry) -> None:
    """`close` waits for the call that has begun, and none begins after it."""
    begun, go_on = threading.Event(), threading.Event()
    ended: list[Event] = []

    def slow(event: Event) -> None:
        begun.set()
        go_on.wait(10)
        ended.append(event)

    watch = registry.watch(on_event=slow)
    registry.register_many([("a", {}), ("b", {})])
    assert begun.wait(10)
    timer = threading.Timer(0.05, go_on.set)
    timer.start()
    watch.close()
    assert [event.revision for event in ended] == [1]
    timer.join()
    registry.register("c")
    eventually(lambda: not any(thread.name == "adsum-watch" for thread in threading.enumerate()))
    assert len(ended) == 1


def test_the_function_may_close_the_watch(registry: Registry) -> None:
    """The function itself may close the watch; then it is not called again."""
    calls: list[Event] = []

    def once(event: Event) -> None:
        calls.append(event)
        watch.close()

    watch = registry.watch(on_event=once)
    registry.register_many([("a", {}), ("b", {})])
    eventually(lambda: not any(thread.name == "adsum-watch" for thread in threading.enumerate()))
    assert len(calls) == 1


def test_it_ends_with_the_registry(registry_folder: Path) -> None:
    """Closing the registry ends the thread."""
    registry = adsum.open(path=registry_folder)
    registry.watch(on_event=print)
    registry.close()
    eventually(lambda: not any(thread.name == "adsum-watch" for thread in threading.enumerate()))


@pytest.mark.parametrize("on_event", ["print", 7, ()])
def test_what_is_no_function_is_refused(either: Registry, on_event: Any) -> None:
    """`on_event` is a function or None."""
    with pytest.raises(TypeError, match="give a function of an event, or None"):
        either.watch(on_event=on_event)


@pytest.mark.parametrize("is_async", [False, True])
async def test_with_asyncio_a_task_calls_it(
    registry_folder: Path, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    """With asyncio the function is called in the event loop, and may be ``async``; errors are logged."""
    recorder = Recorder(failing="a")

    async def awaited(event: Event) -> None:
        await asyncio.sleep(0)
        recorder(event)

    async with adsum.open_async(path=registry_folder) as registry:
        async with registry.watch(on_event=awaited if is_async else recorder):
            await registry.register_many([("a", {}), ("b", {})])
            await asyncio.to_thread(eventually, lambda: len(recorder.calls) == 2)
        await registry.register("c")
        await asyncio.sleep(0.05)
    assert recorder.calls == [("registered", "a"), ("registered", "b")]
    assert recorder.threads == {threading.current_thread().name}
    assert "ZeroDivisionError: on purpose" in caplog.text
    assert len(asyncio.all_tasks()) == 1
