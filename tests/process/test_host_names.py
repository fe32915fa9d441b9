"""One registry, several host names: a machine that is renamed, or containers that share a PID namespace."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import adsum
from adsum import Registry
from tests.support import Agent, Child, eventually


@pytest.fixture
def under(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Skips the test unless a process can have a host name of its own (uts_namespaces(7))."""
    tried = subprocess.run(["unshare", "--uts", "true"], capture_output=True) if shutil.which("unshare") else None
    if tried is None or tried.returncode:
        pytest.skip("needs unshare(1), and the right to make a UTS namespace")
    return lambda name: {"HOST": name}


def _lives(folder: str, name: str, do: str) -> None:
    """With another host name, open the registry and do something to it; then wait for the end of the input."""
    import ctypes

    clone_newuts = 0x04000000
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(clone_newuts):
        raise OSError(ctypes.get_errno(), "unshare")
    socket.sethostname(name)
    registry = adsum.open(path=folder, timeout=10)
    print(eval(do, {"registry": registry, "adsum": adsum}))
    input()


def _outcome(do: str) -> str:
    return f"""(lambda: {do})()"""


@pytest.mark.usefixtures("under")
def test_two_host_names_have_one_node(registry_folder: Path) -> None:
    """S1: a name that is held under one host name is held under every other, and is found there."""
    with (
        Child(_lives, registry_folder, "aa", "registry.register('leader').process_id.node") as first,
        Child(_lives, registry_folder, "bb", "(registry.node, 'leader' in registry, len(registry.find()))") as second,
    ):
        first.expect("aa")
        # Before the registry is made, when it is made, and when the name is registered.
        assert second.line() in ("('bb', False, 0)", "('aa', False, 0)", "('aa', True, 1)")
        with adsum.open(path=registry_folder, timeout=10) as here:
            assert here.node == "aa"
            with pytest.raises(adsum.AlreadyRegistered):
                here.register("leader")
            assert here["leader"].pid == first.pid


@pytest.mark.usefixtures("under")
def test_many_that_make_the_registry_at_once(registry_folder: Path) -> None:
    """S1: of processes with different host names that make the registry at the same time, one becomes the holder."""
    do = "registry.get_or_register('leader')"
    with Child(_lives, registry_folder, "aa", do) as one, Child(_lives, registry_folder, "bb", do) as two:
        assert sorted([one.line().endswith("True)"), two.line().endswith("True)")]) == [False, True]
        with adsum.open(path=registry_folder) as here:
            assert [entry.process_id.node for entry in here.find()] == [here.node]


@pytest.mark.usefixtures("under")
def test_a_reader_that_was_there_before_the_registry(registry: Registry) -> None:
    """A process that opened an absent registry finds the entries of the one that another host name makes later."""
    assert registry.lookup("leader") is None
    with Child(_lives, registry.folder, "aa", "registry.register('leader').process_id.node") as first:
        first.expect("aa")
        eventually(lambda: registry.lookup("leader") is not None)
        assert registry.node == "aa"
        assert registry.update("leader", endpoint="x").process_id.node == "aa"


def test_a_named_node_counts(registry: Registry) -> None:
    """A node that the user names, with `node=` or `$ADSUM_NODE`, has priority over that of the registry."""
    registry.register("a")
    with Agent(registry.folder, env={"ADSUM_NODE": "rack-7"}) as agent, adsum.open(path=registry.folder, node="n") as n:
        assert agent.value("(registry.node, 'a' in registry)") == ("rack-7", False)
        assert (n.node, "a" in n) == ("n", False)


def test_requests_that_follow_the_first_one(registry_folder: Path) -> None:
    """Requests that are sent before the first one has made the registry are carried out behind it, under its node."""

    async def follow() -> tuple[str, str, bool]:
        async with adsum.open_async(path=registry_folder, timeout=10) as registry:
            first = registry.register_nowait("a", heartbeat=60.0)
            await asyncio.sleep(0)
            updated = await registry.update("a", endpoint="x")
            beaten = await registry.heartbeat("a")
            removed = await registry.unregister("a")
            assert (await first).process_id == updated.process_id == beaten.process_id
            return registry.node, updated.process_id.node, removed

    node, found, removed = asyncio.run(follow())
    assert node == found
    assert removed


def test_a_request_that_the_making_of_the_registry_overtakes(registry: Registry) -> None:
    """A request that was prepared without a registry, and is sent when there is one, is carried out under its node."""
    beat, removal = registry._calls.heartbeat("a", None), registry._calls.unregister("a", None)
    entry = registry.register("a", heartbeat=60.0).entry
    assert registry._calls.wait(beat, None).entries[0].process_id == entry.process_id
    assert registry._calls.wait(removal, None).changed


def test_the_node_of_a_registry_is_found_again(registry: Registry) -> None:
    """A pickled registry that names no node uses the registry's own; one that names a node keeps it."""
    import pickle

    registry.register("a")
    with pickle.loads(pickle.dumps(registry)) as copy:
        assert "a" in copy
    with adsum.open(path=registry.folder, node="n") as named, pickle.loads(pickle.dumps(named)) as copy:
        assert copy.node == "n"
