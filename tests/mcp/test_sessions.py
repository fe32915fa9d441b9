"""The end of a session, in whatever way: the server ends, its claims are released, and no ghost is left."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from adsum import Registry
from tests.cli.command import Command
from tests.support import eventually, stopped
from tests.support.processes import is_alive

from .connecting import sleeper
from .raw import RawClient, parse, raw_client


@pytest.fixture
def printer(members: Registry) -> Iterator[Registry]:
    """A member with one slot."""
    with sleeper() as process:
        members.register("printer", process)
        yield members


@contextlib.contextmanager
def _ending_the_leftover(client: RawClient) -> Iterator[None]:
    """Ends the child that a killed client leaves behind."""
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(client.leftover_pid, signal.SIGKILL)


def test_a_killed_client(command: Command, printer: Registry) -> None:
    """When the client is killed, its entry is gone at once, its server ends although another process has its input
    open, and the claim is free."""
    with raw_client(command, "--allow-writes") as client, _ending_the_leftover(client):
        client.say({"id": 77, "method": "tools/call", "params": {"name": "wait_for_agent", "arguments": {"id": "x"}}})
        registered = client.call("register_me", id="me", description="a client")
        assert registered["pid"] == client.child.pid
        assert printer["me"].pid == client.child.pid
        claim = client.call("claim_agent", id="printer")
        assert printer["printer"].claims[0].pid == client.server_pid
        assert claim["agent"]["id"] == "default/here/printer"
        client.child.kill()
        assert printer.lookup("me") is None
        eventually(lambda: not is_alive(client.server_pid))
        eventually(lambda: printer["printer"].claims == ())
        with printer.claim("printer", timeout=5):
            pass


def test_a_killed_server(command: Command, printer: Registry) -> None:
    """When the server is killed, its claims are free, and the client, which lives, stays registered."""
    with raw_client(command, "--allow-writes") as client, _ending_the_leftover(client):
        client.call("register_me", id="me")
        client.call("claim_agent", id="printer")
        os.kill(client.server_pid, signal.SIGKILL)
        assert client.child.line() == "ended -9"
        eventually(lambda: printer["printer"].claims == ())
        assert printer["me"].pid == client.child.pid


def test_the_end_of_the_input(command: Command, printer: Registry) -> None:
    """When the client closes the input, the server ends with 0 while calls wait, and what it claimed is free."""
    with ExitStack() as stack:
        client, other = (stack.enter_context(raw_client(command, "--allow-writes")) for _ in range(2))
        stack.enter_context(_ending_the_leftover(other))
        client.call("claim_agent", id="printer")
        client.send("tools/call", name="wait_for_agent", arguments={"id": "x"})
        waiting = other.send("tools/call", name="claim_agent", arguments={"id": "printer", "timeout_seconds": 30})
        assert client.child.finish() == 0
        assert parse(other.answer(waiting))["agent"]["id"] == "default/here/printer"


def test_an_id_of_another_process(command: Command, printer: Registry) -> None:
    """An id that another living process holds is refused, and its entry stays as it is."""
    before = printer["printer"]
    with raw_client(command, "--allow-writes") as client, _ending_the_leftover(client):
        error = client.call("register_me", id="printer", description="taken over")
        assert error["error"] == "already_registered"
        assert str(before.pid) in error["message"]
        assert printer["printer"] == before


def test_a_second_session_of_one_client(command: Command, members: Registry) -> None:
    """A client that registers again under its id changes its entry, and its incarnation stays."""
    with raw_client(command, "--allow-writes") as client, _ending_the_leftover(client):
        client.call("register_me", id="me", capabilities=["old"], description="first")
        before = members["me"]
        client.call("register_me", id="me", capabilities=["new"])
        after = members["me"]
        assert (after.incarnation, after.metadata.description) == (before.incarnation, "first")
        assert after.metadata.capabilities == {"new"}
        answer = client.call("set_status", doing="testing", health="degraded")
        assert answer["agents"][0]["health"] == "degraded"
        assert members["me"].metadata.doing == "testing"
        assert members["me"].health_source == "other"
        members.unregister("me")
        assert client.call("set_status", doing="more")["error"] == "which_agent"
        assert client.call("set_status", id="printer", doing="more")["error"] == "not_yours"


def test_a_cancelled_call_holds_nothing(command: Command, printer: Registry) -> None:
    """A model that calls and goes away: a cancelled wait releases its descriptors, and a cancelled claim its place in
    the queue."""
    with raw_client(command, "--allow-writes") as client, _ending_the_leftover(client):
        client.call("wait_for_agent", id="absent", timeout_seconds=0.1)
        with printer.claim("printer"):
            # The connections that the server keeps for later calls are there from now on.
            assert client.call("claim_agent", id="printer", timeout_seconds=0.1)["error"] == "timeout"
            before = _descriptors(client.server_pid)
            waits = [client.send("tools/call", name="wait_for_agent", arguments={"id": f"x-{n}"}) for n in range(20)]
            claim = client.send("tools/call", name="claim_agent", arguments={"id": "printer", "timeout_seconds": 300})
            eventually(lambda: len(_descriptors(client.server_pid)) >= len(before) + 20)
            for number in (*waits, claim):
                client.say({"method": "notifications/cancelled", "params": {"requestId": number}})
            eventually(lambda: len(_descriptors(client.server_pid)) <= len(before))
        # Were the claim still queued, it would be granted now.
        with printer.claim("printer", timeout=5):
            assert [record.pid for record in printer["printer"].claims] == [os.getpid()]
        assert client.call("list_agents")["total"] == 1


def test_too_many_waits(command: Command, members: Registry) -> None:
    """A client has a bounded number of waits at a time; one more is refused, and the others go on."""
    with raw_client(command) as client, _ending_the_leftover(client):
        waits = [client.send("tools/call", name="wait_for_agent", arguments={"id": f"x-{n}"}) for n in range(64)]
        assert client.call("wait_for_agent", id="y")["error"] == "system_busy"
        members.register("x-7")
        assert parse(client.answer(waits[7]))["done"] is True


def test_claims_of_a_stopped_registry(command: Command, printer: Registry) -> None:
    """A server whose registrar does not answer still ends when its client ends, and the kernel ends its claim."""
    with raw_client(command, "--allow-writes") as client, _ending_the_leftover(client):
        client.call("claim_agent", id="printer")
        with stopped(command.folder):
            client.child.kill()
            eventually(lambda: not is_alive(client.server_pid), within=20)
        eventually(lambda: printer["printer"].claims == ())


def _descriptors(pid: int) -> list[str]:
    return os.listdir(f"/proc/{pid}/fd")
