"""Garbage collection may run at any time, in any thread, and call the registry: a collected registry closes, and a
collected task ends its entry. Such a call must not deadlock with the code that it interrupts."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import pytest

import adsum
from adsum import Registry

from ..support import Child, eventually
from .moments import Moment, everywhere


class Scene(NamedTuple):
    """Garbage that calls the registry when it is collected, and the call during which it is collected."""

    litter: Callable[[int], None]
    call: Callable[[], None]
    afterwards: Callable[[], None]


def _registry(folder: str, of: str) -> Scene:
    """A registry in a cycle is collected while another one, of the same or another folder, is opened and closed."""
    adsum.open(path=folder, timeout=10).register("there")

    def litter(_: int) -> None:
        garbage = adsum.open(path=folder)
        garbage.itself = garbage  # type: ignore[attr-defined]

    def call() -> None:
        with adsum.open(path=folder + of) as opened:
            assert (opened.lookup("there") is None) == bool(of)

    return Scene(litter, call, call)


def _task(folder: str) -> Scene:
    """A task whose future never completes is collected while other requests are made, sent and answered."""
    everywhere()
    registry: Registry = adsum.open(path=folder, timeout=10)
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)

    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    async def drop(number: int) -> None:
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        registry.register(f"task-{number}", task)

    def call() -> None:
        registry.register_nowait("other").result()
        assert registry.unregister("other")

    def afterwards() -> None:
        eventually(lambda: len(registry) == 0)

    return Scene(lambda number: loop.run_until_complete(drop(number)), call, afterwards)


SCENES: dict[str, Callable[[str], Scene]] = {
    "registry": lambda folder: _registry(folder, ""),
    "another registry": lambda folder: _registry(folder, "-2"),
    "task": _task,
}


def _collect_everywhere(folder: str, what: str) -> None:
    """Collect at the first moment of a call, at the second, and so on to the last; prints the number of moments."""
    gc.collect()
    gc.disable()
    scene = SCENES[what](folder)
    scene.call()
    # What is there already is no litter: to look at all of it takes 20 ms each time, and there are a thousand times.
    gc.collect()
    gc.freeze()
    number = 0
    while True:
        scene.litter(number)
        moment = Moment(number, _collect)
        _alarm_in(moment)
        with moment:
            scene.call()
        gc.collect()
        scene.afterwards()
        if not moment.place:
            break
        number += 1
    print(number)


def _collect() -> None:
    gc.collect()


def _alarm_in(moment: Moment) -> None:
    def hung(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"it hangs, after a collection at {moment.place}")

    signal.signal(signal.SIGALRM, hung)
    signal.alarm(10)


@pytest.mark.parametrize("what", SCENES)
def test_collection_at_any_moment(registry_folder: Path, what: str) -> None:
    """At whatever moment of a call the collector closes a registry or ends a task, that and later calls succeed."""
    with Child(_collect_everywhere, registry_folder, what) as child:
        assert int(child.line(60)) > 20
