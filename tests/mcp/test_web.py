"""``adsum mcp --http``: which process, which user and which page may use it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import urllib.error
import urllib.request

import pytest
from mcp.shared.exceptions import MCPError

from adsum import Registry
from tests.cli.command import Command
from tests.support import eventually_awaited

from .connecting import TOKEN, ask, epolls, over_http, refused, serving, sleeper

_PING = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode()
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


def _status(url: str, **headers: str) -> int:
    request = urllib.request.Request(url, _PING, {**_HEADERS, **headers})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return int(error.code)


async def test_no_request_says_which_process_it_is_of(command: Command, members: Registry, era: str) -> None:
    """Over HTTP `register_me` and `claim_agent` without a pid are refused with what to do; with one, the entry and the
    claim end with that process, and not with the connection."""
    with serving(command, "--allow-writes") as (_, url), sleeper() as me:
        members.register("printer")
        async with over_http(url, era) as client:
            for tool, arguments in (("register_me", {"id": "me"}), ("claim_agent", {"id": "printer"})):
                error = await refused(client, tool, **arguments)
                assert error["error"] == "client_unknown"
                assert "cannot know which process you are" in error["message"]
                assert "pid" in error["message"]
            assert (await refused(client, "register_me", id="me", pid=2**22 + 1))["error"] == "dead_process"
            assert (await ask(client, "register_me", id="me", pid=me.pid))["pid"] == me.pid
            assert (await ask(client, "set_status", id="me", doing="working"))["agents"][0]["id"] == "default/here/me"
            claim = await ask(client, "claim_agent", id="printer", pid=me.pid)
            assert [record.pid for record in members["printer"].claims] == [me.pid]
        assert members["me"].metadata.doing == "working"
        assert len(members["printer"].claims) == 1
        me.kill()
        me.wait()
        assert "me" not in members
        await eventually_awaited(lambda: members["printer"].claims == ())
        async with over_http(url, era) as client:
            assert (await ask(client, "release", claim=claim["claim"]))["released"] is False


async def test_a_request_that_is_given_up_holds_nothing(command: Command, members: Registry) -> None:
    """Where an enveloped client closes its request, a wait releases its descriptors, and a claim leaves the queue."""
    with serving(command, "--allow-writes") as (child, url):
        members.register("printer")
        with members.claim("printer"):
            async with over_http(url, "enveloped") as client:
                await ask(client, "wait_for_agent", id="x", timeout_seconds=0.05)
                pid = os.getpid()
                await refused(client, "claim_agent", id="printer", pid=pid, timeout_seconds=0.05)
                before = epolls(child.pid)
                calls = [asyncio.create_task(ask(client, "wait_for_agent", id=f"x-{n}")) for n in range(5)]
                calls.append(asyncio.create_task(ask(client, "claim_agent", id="printer", pid=pid, timeout_seconds=99)))
                await eventually_awaited(lambda: epolls(child.pid) >= before + 5)
                for call in calls:
                    call.cancel()
                await asyncio.wait(calls)
                await eventually_awaited(lambda: epolls(child.pid) == before)
        with members.claim("printer", timeout=5):
            assert len(members["printer"].claims) == 1


def test_tokens_hosts_and_origins(command: Command) -> None:
    """With a token, only requests that have it are answered. Requests for another host, and those of web pages of
    other origins, are refused in every case."""
    with serving(command) as (_, url):
        bearer = f"Bearer {TOKEN}"
        assert _status(url) == 401
        assert _status(url, Authorization="Bearer wrong") == 401
        assert _status(url, Authorization=TOKEN) == 401
        # Without a session a ping is refused for that reason, so the token was right.
        assert _status(url, Authorization=bearer) == 400
        assert _status(url, Authorization=bearer, Host="evil.example") == 421
        port = url.split(":")[2].partition("/")[0]
        for host in (f"127.0.0.1:{port}@x.example", f"localhost:{port}.x.example", f"127.0.0.1:{port}/x", "127.0.0.1:"):
            assert _status(url, Authorization=bearer, Host=host) == 421, host
            assert _status(url, Authorization=bearer, Origin=f"http://{host}") == 403, host
        assert _status(url, Authorization=bearer, Origin="http://evil.example") == 403


async def test_without_a_token(command: Command, members: Registry) -> None:
    """Without a token a server reads, and does not begin where it was to write."""
    members.register("planner")
    with serving(command, token=None) as (_, url):
        async with over_http(url, "enveloped", token=None) as client:
            assert (await ask(client, "list_agents"))["total"] == 1
    code, _, err = command("mcp", "--http", "127.0.0.1:0", "--allow-writes")
    assert code == 2
    assert "ADSUM_MCP_TOKEN" in err
    command.environment["ADSUM_MCP_TOKEN"] = "two words"
    assert command("mcp", "--http", "127.0.0.1:0").code == 2


async def test_the_loopback_address_of_ipv6(command: Command, members: Registry) -> None:
    """It serves on the loopback address of IPv6 as well."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("this machine has no IPv6")
    members.register("planner")
    with serving(command, address="[::1]:0") as (_, url):
        assert url.startswith("http://[::1]:")
        async with over_http(url, "enveloped") as client:
            assert (await ask(client, "list_agents"))["total"] == 1


def test_addresses(command: Command) -> None:
    """A port in use, an address that other machines can reach, and one that is none end it with a message."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, out, err = command("mcp", "--http", address)
    assert (code, out) == (3, "")
    assert f"cannot listen on {address}: Address already in use; choose another with --http" in err
    for address in ("0.0.0.0:1234", "192.168.1.1:80", "[::]:80", "example.org:80"):
        code, _, err = command("mcp", "--http", address)
        assert code == 2
        assert "loopback" in err
    assert command("mcp", "--http", "8765").code == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_it_ends(command: Command, members: Registry, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and SIGHUP end it with 0 and no traceback, free the port and end streams in order, while clients
    of both eras wait and listen."""
    members.register("planner")
    with serving(command, "--allow-writes") as (child, url):
        async with over_http(url, "enveloped") as new, over_http(url, "handshake") as old:
            wait = asyncio.create_task(new.call_tool("wait_for_agent", {"id": "x"}))
            other = asyncio.create_task(old.call_tool("wait_for_agent", {"id": "x"}))
            async with new.listen(resources_list_changed=True) as stream:
                await asyncio.sleep(0.2)
                child.signal(number)
                async with asyncio.timeout(20):
                    assert [event async for event in stream] == []
                for result in await asyncio.gather(wait, other, return_exceptions=True):
                    # On a machine that is too busy the connection is closed before the answer is written.
                    assert isinstance(result, MCPError) or "server_ends" in str(getattr(result, "content", result))
                assert await asyncio.to_thread(child.wait, 20) == 0
        out, err = child.process.communicate(timeout=10)
        assert (out, err) == (b"", b"")
    with socket.create_server(("127.0.0.1", int(url.rpartition(":")[2].partition("/")[0]))):
        pass
