"""Objects of one process: pickling or copying them says what to pass on instead."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import Registry

MADE: dict[str, Callable[[Any, Any], object]] = {
    "registration": lambda _, registration: registration,
    "gauges": lambda _, registration: registration.gauges,
    "claim": lambda registry, _: registry.claim("w", timeout=0),
    "watch": lambda registry, _: registry.watch(),
    "follow": lambda registry, _: registry.follow(),
}
WAYS: dict[str, Callable[[object], object]] = {"pickle": pickle.dumps, "copy": copy.copy, "deepcopy": copy.deepcopy}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("made", MADE)
def test_the_error_says_what_to_pass(registry: Registry, made: str, way: str) -> None:
    """A `TypeError` that names the type and the remedy, and nothing about locks."""
    registration = registry.register("w", gauges={"load": 0.0})
    with pytest.raises(TypeError, match=r"^\w+ cannot be pickled or copied: .*; (pass|make) "):
        WAYS[way](MADE[made](registry, registration))
    assert len(registry) == 1


async def test_the_objects_of_asyncio(registry_folder: Path) -> None:
    """Likewise."""
    async with adsum.open_async(path=registry_folder, timeout=10) as registry:
        registration = await registry.register("w", gauges={"load": 0.0})
        claim = await registry.claim("w", timeout=0)
        for thing in (registration, claim, registration.gauges, registry.watch(), registry.follow()):
            with pytest.raises(TypeError, match="cannot be pickled or copied"):
                pickle.dumps(thing)


def test_a_process_that_is_spawned(registry: Registry) -> None:
    """The usual way to meet it: a registration as an argument of a process. Its entry can be one."""
    registration = registry.register("w")
    spawn = multiprocessing.get_context("spawn")
    with pytest.raises(TypeError, match="pass its entry or its id"):
        spawn.Process(target=print, args=(registration,)).start()
    process = spawn.Process(target=str, args=(registration.entry,))
    process.start()
    process.join(20)
    assert process.exitcode == 0


def test_gauges_have_no_dictionary(registry: Registry) -> None:
    """A misspelt attribute is an error, and setting a gauge stays a store into slots."""
    gauges = registry.register("w", gauges={"load": 0.0}).gauges
    assert not hasattr(gauges, "__dict__")
    with pytest.raises(AttributeError):
        gauges.lod = 1.0  # type: ignore[attr-defined]
