"""Timeouts of the calls that wait for the cluster: which are possible, and what a short one says."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import adsum
from adsum import Registry, Timeout, admin_cluster
from tests.support.waiting import eventually

from .host_processes import SOON, Hosts

IMPOSSIBLE: list[Any] = [math.nan, math.inf, -math.inf, -1, -0.001, 1e9, 1e10, 10**400, "soon", [1], True]

CALLS: dict[str, Callable[[Registry, Any], object]] = {
    "catch_up": lambda registry, timeout: registry.catch_up(timeout),
    "published": lambda registry, timeout: registry.register("w").published(timeout),
    "register": lambda registry, timeout: registry.register("w", everywhere=True, timeout=timeout),
    "stand_by": lambda registry, timeout: registry.stand_by("w", everywhere=True, timeout=timeout),
    "claim": lambda registry, timeout: registry.claim(capability="c", everywhere=True, timeout=timeout),
    "release": lambda registry, timeout: registry.claim("w", everywhere=True).release(timeout=timeout),
    "leave": lambda registry, timeout: admin_cluster.leave(registry.folder, timeout),
    "stop_bridge": lambda registry, timeout: admin_cluster.stop_bridge(registry.folder, timeout),
}
AWAITED: dict[str, Callable[[adsum.AsyncRegistry, Any], Any]] = {
    "catch_up": lambda registry, timeout: registry.catch_up(timeout),
    "register": lambda registry, timeout: registry.register("w", everywhere=True, timeout=timeout),
    "stand_by": lambda registry, timeout: registry.stand_by("w", everywhere=True, timeout=timeout),
    "claim": lambda registry, timeout: registry.claim(capability="c", everywhere=True, timeout=timeout),
}
ADVICE = "give seconds from 0 to 1e9"


def test_impossible_timeouts_are_refused_at_once(hosts: Hosts) -> None:
    """With advice, and before anything is done: the registry is part of the cluster still."""
    host = hosts.add("a")
    host.registry.register("w")
    for name, call in CALLS.items():
        for timeout in IMPOSSIBLE:
            if name in ("published", "release"):
                host.registry.unregister("w")
            if name == "release":
                host.registry.register("w")
            print(name, timeout)
            with pytest.raises(ValueError, match=ADVICE):
                call(host.registry, timeout)
    assert admin_cluster.membership(host.folder) is not None
    assert admin_cluster.bridge_pid(host.folder) is not None


async def test_impossible_timeouts_are_refused_where_they_are_awaited(hosts: Hosts) -> None:
    """Each awaited call refuses an impossible timeout with a `ValueError` that gives advice."""
    host = await asyncio.to_thread(hosts.add, "a")
    async with adsum.open_async(path=host.folder, node="a", timeout=10) as registry:
        registration = await registry.register("anchored")
        for timeout in IMPOSSIBLE:
            for call in AWAITED.values():
                with pytest.raises(ValueError, match=ADVICE):
                    await call(registry, timeout)
            with pytest.raises(ValueError, match=ADVICE):
                await registration.published(timeout)


@pytest.mark.parametrize("timeout", [0, 1e-6, 0.0005])
def test_too_short_a_time_is_a_timeout_while_the_cluster_is_well(hosts: Hosts, timeout: float) -> None:
    """And no word about a cluster that could not be reached."""
    host = hosts.add("a")
    host.registry.register("w")
    eventually(lambda: host.registry._reader.progress.hears(), SOON)
    for _ in range(3):
        with pytest.raises(Timeout, match="longer timeout="):
            host.registry.catch_up(timeout)
    assert host.registry.catch_up(SOON) > 0


def test_a_question_that_is_given_up_says_nothing_on_stderr(hosts: Hosts) -> None:
    """Questions whose time is over before there is a connection leave nothing behind in gRPC, which would print it
    when the next question is asked."""
    host = hosts.add("a")
    host.registry.register("w")
    program = (
        "import sys, adsum\n"
        "registry = adsum.open(path=sys.argv[1], cluster='')\n"
        "for number in range(60):\n"
        "    try:\n"
        "        registry.catch_up(0.0001 * (number % 30))\n"
        "    except adsum.AdsumError:\n"
        "        pass\n"
        "registry.catch_up(20)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(host.folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.stderr, run.returncode) == ("", 0)
