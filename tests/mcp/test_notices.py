"""Notices of changes: on a stream for enveloped clients, in the session for handshake clients."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator

import pytest
from mcp.client.session import IncomingMessage
from mcp.client.subscriptions import ListenNotSupportedError
from mcp.shared.exceptions import MCPError
from mcp_types import ResourceListChangedNotification, ResourceUpdatedNotification

from adsum import Registry
from tests.cli.command import Command
from tests.support import eventually_awaited, kill_registrar

from .connecting import Way, ask, connected, epolls, over_http, over_pipes, serving, sleeper

# The SDK's client warns that its calls for handshake servers are of the past.
pytestmark = pytest.mark.filterwarnings("ignore:resources/(un)?subscribe is removed")

ALL = "adsum://agents"
PLANNER = "adsum://agents/default/here/planner"


class Heard:
    """The notices of a session, in words."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def __call__(self, message: IncomingMessage) -> None:
        if isinstance(message, ResourceListChangedNotification):
            self.notices.append("list")
        elif isinstance(message, ResourceUpdatedNotification):
            self.notices.append(str(message.params.uri))
        else:
            self.notices.append(repr(message))

    async def until(self, *wanted: str) -> None:
        """Wait until all of these were heard, and forget them."""
        await eventually_awaited(lambda: set(wanted) <= set(self.notices), 20)
        self.notices.clear()


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process to register."""
    with sleeper() as running:
        yield running


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_in_a_session(
    command: Command, members: Registry, process: subprocess.Popen[bytes], transport: str
) -> None:
    """A handshake client hears of members that come and go, and of changes of what it subscribed to; of nothing else
    after it has unsubscribed."""
    heard = Heard()
    members.register("other")
    async with connected(command, Way(transport, "handshake"), heard=heard) as client:
        capability = client.server_capabilities.resources
        assert capability is not None
        assert (capability.subscribe, capability.list_changed) == (True, True)
        # What is answered after the beginning of the session was asked after it.
        assert len((await client.list_resources()).resources) == 2
        members.register("planner", process)
        await heard.until("list")
        await client.subscribe_resource(PLANNER)
        members.update("planner", doing="planning")
        members.update("other", doing="other things")
        await heard.until(PLANNER)
        process.kill()
        await heard.until("list", PLANNER)
        with pytest.raises(MCPError, match="no living agent"):
            await client.read_resource(PLANNER)
        await client.unsubscribe_resource(PLANNER)
        await client.subscribe_resource(ALL)
        members.register("planner")
        await heard.until("list", ALL)
        members.update("planner", doing="more")
        await heard.until(ALL)
        assert heard.notices == []
        with pytest.raises(ListenNotSupportedError):
            async with client.listen(resources_list_changed=True):
                raise AssertionError("a session has no streams")


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_on_a_stream(
    command: Command, members: Registry, process: subprocess.Popen[bytes], transport: str
) -> None:
    """An enveloped client hears on its stream what it asked for there, and nothing without a stream."""
    heard = Heard()
    members.register("other")
    async with connected(command, Way(transport, "enveloped"), heard=heard) as client:
        async with client.listen(resource_subscriptions=[PLANNER]) as planner:
            async with client.listen(resources_list_changed=True) as lists:
                members.register("planner", process)
                async with asyncio.timeout(20):
                    assert type(await anext(lists)).__name__ == "ResourcesListChanged"
                    assert getattr(await anext(planner), "uri", None) == PLANNER
                members.update("planner", doing="planning")
                async with asyncio.timeout(20):
                    assert getattr(await anext(planner), "uri", None) == PLANNER
                # The only change of a list would be here by now.
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await anext(lists)
            process.kill()
            async with asyncio.timeout(20):
                assert getattr(await anext(planner), "uri", None) == PLANNER
        assert PLANNER not in [resource.uri for resource in (await client.list_resources()).resources]
        heard.notices.clear()
        members.register("planner")
        # On a stream it would be heard within a twentieth of a second.
        await asyncio.sleep(0.5)
        assert PLANNER in [resource.uri for resource in (await client.list_resources()).resources]
    assert heard.notices == []


async def test_both_eras_on_one_server(command: Command, members: Registry) -> None:
    """Two clients of different eras on one server hear of the same change, each in its way, also after the
    registrar was killed."""
    heard = Heard()
    members.register("planner")
    with serving(command) as (_, url):
        async with over_http(url, "handshake", heard=heard) as old, over_http(url, "enveloped") as new:
            await old.subscribe_resource(PLANNER)
            async with new.listen(resource_subscriptions=[PLANNER]) as stream:
                for doing in ("this", "that"):
                    members.update("planner", doing=doing)
                    await heard.until(PLANNER)
                    async with asyncio.timeout(20):
                        assert getattr(await anext(stream), "uri", None) == PLANNER
                    kill_registrar(command.folder)


async def test_many_changes_are_few_notices(command: Command, members: Registry) -> None:
    """A hundred changes in a row are gathered into a few notices."""
    heard = Heard()
    members.register("planner")
    async with over_pipes(command, "handshake", heard=heard) as client:
        await client.subscribe_resource(PLANNER)
        for number in range(100):
            members.update("planner", doing=f"step {number}")
        await heard.until(PLANNER)
        await asyncio.sleep(1.2)
        assert len(heard.notices) < 10
        answer = await ask(client, "get_agents", ids=["planner"])
        assert answer["agents"][0]["stated"]["doing"] == "step 99"


async def test_an_absent_registry_is_listened_to(command: Command) -> None:
    """A client may listen where there is no registry yet; none is made for that, and it hears of the first member."""
    heard = Heard()
    async with over_pipes(command, "handshake", heard=heard) as client:
        await client.list_resources()
        await asyncio.sleep(0.2)
        assert not command.folder.exists()
        assert command("register", "planner", str(1)).code == 0
        await heard.until("list")


async def test_a_server_stops_watching(command: Command, members: Registry) -> None:
    """A session that ends, and a stream that is closed, leave no watch behind: where no client listens any more, the
    next change ends it."""
    members.register("planner")
    with serving(command) as (child, url):
        before = epolls(child.pid)
        async with over_http(url, "handshake") as client:
            await client.list_resources()
            await eventually_awaited(lambda: epolls(child.pid) > before)
        async with over_http(url, "enveloped") as client, client.listen(resources_list_changed=True):
            pass
        members.update("planner", doing="more")
        await eventually_awaited(lambda: epolls(child.pid) == before)
        # And it begins anew for the next one.
        async with over_http(url, "enveloped") as client, client.listen(resource_subscriptions=[PLANNER]) as stream:
            members.update("planner", doing="even more")
            async with asyncio.timeout(20):
                assert getattr(await anext(stream), "uri", None) == PLANNER
