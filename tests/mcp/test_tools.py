"""What the tools answer, to the SDK's own client."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

import adsum
from adsum import Registry
from tests.cli.command import NODE, Command
from tests.support import kill_registrar

from .connecting import Way, ask, connected, local_ids, over_pipes, refused, sleeper


@pytest.fixture
def team(members: Registry) -> Iterator[Registry]:
    """Three members, of a process that is not this one."""
    with sleeper() as process:
        members.register(
            "planner",
            process,
            capabilities={"planning", "review"},
            description="Plans the work of the others",
            doing="splitting issue 7",
            endpoint="http://127.0.0.1:9001",
            resources={"tokens": 100},
            custom={"model": "small", "nested": {"a": [1, None, 2.5]}},
            slots=2,
        )
        members.register("coder-1", process, capabilities={"coding"}, description="Writes what was planned")
        members.register("coder-2", process, capabilities={"coding"}, health_status="degraded", type="service")
        yield members


async def test_search_list_and_get(command: Command, team: Registry, way: Way) -> None:
    """Clients of both eras search, list and read members, over both transports."""
    async with connected(command, way, "--allow-writes") as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(tools)[:4] == ["search_agents", "list_agents", "get_agents", "wait_for_agent"]
        assert list(tools)[4:] == ["claim_agent", "release", "register_me", "set_status"]
        assert all(tool.input_schema["type"] == "object" for tool in tools.values())
        assert client.instructions is not None
        assert "data" in client.instructions

        assert local_ids(await ask(client, "search_agents", text="PLAN")) == ["coder-1", "planner"]
        assert local_ids(await ask(client, "search_agents", text="plan splitting")) == ["planner"]
        assert local_ids(await ask(client, "search_agents", text="plan absent")) == []
        assert local_ids(await ask(client, "list_agents")) == ["coder-1", "coder-2", "planner"]
        assert local_ids(await ask(client, "list_agents", capability="coding", health="healthy")) == ["coder-1"]
        assert local_ids(await ask(client, "list_agents", type="service")) == ["coder-2"]

        answer = await ask(client, "get_agents", ids=["planner", "default/here/coder-2", "nobody"])
        assert local_ids(answer) == ["planner", "coder-2"]
        assert answer["not_registered"] == ["nobody"]
        planner = answer["agents"][0]
        assert planner["pid"] == team["planner"].pid
        assert planner["slots"] == 2
        assert planner["stated"]["endpoint"] == "http://127.0.0.1:9001"
        assert planner["stated"]["resources"] == {"tokens": 100}
        assert planner["stated"]["custom"] == {"model": "small", "nested": {"a": [1, None, 2.5]}}
        assert planner["stated"]["doing"] == "splitting issue 7"


async def test_pages(command: Command, members: Registry) -> None:
    """A page has as many members as was asked for, and its cursor leads on, also when members come and go meanwhile."""
    for number in range(25):
        members.register(f"m-{number:02}")
    async with over_pipes(command, "enveloped") as client:
        first = await ask(client, "list_agents", limit=10)
        assert (first["total"], local_ids(first)) == (25, [f"m-{n:02}" for n in range(10)])
        members.unregister("m-09")
        members.register("a-new-one")
        second = await ask(client, "list_agents", limit=10, cursor=first["next_cursor"])
        assert local_ids(second) == [f"m-{n:02}" for n in range(10, 20)]
        third = await ask(client, "list_agents", limit=10, cursor=second["next_cursor"])
        assert local_ids(third) == [f"m-{n:02}" for n in range(20, 25)]
        assert "next_cursor" not in third
        assert local_ids(await ask(client, "search_agents", text="M-2", limit=3)) == ["m-20", "m-21", "m-22"]
        assert (await refused(client, "list_agents", cursor="nonsense"))["error"] == "invalid_arguments"

        names = [f"m-{n:02}" for n in range(20)]
        assert len((await ask(client, "get_agents", ids=names))["agents"]) == 19
        wrong = await refused(client, "get_agents", ids=[*names, "m-20"])
        assert "length" in wrong["message"]


async def test_a_wait_ends_with_what_it_waits_for(command: Command, members: Registry, way: Way) -> None:
    """`wait_for_agent` ends when the agent is there, is as healthy as asked for, or has ended, and when the time is
    over."""
    async with connected(command, way) as client:
        assert (await ask(client, "wait_for_agent", id="late", timeout_seconds=0.05))["done"] is False
        with sleeper() as process:
            members.register("late", process, health_status="degraded", capabilities={"x"})
            assert local_ids(await ask(client, "wait_for_agent", id="late")) == ["late"]
            waits = ask(client, "wait_for_agent", capability="x", health="healthy", timeout_seconds=0.05)
            assert (await waits)["done"] is False
            members.update_health("late", "healthy")
            assert local_ids(await ask(client, "wait_for_agent", capability="x", health="healthy")) == ["late"]
            process.kill()
            gone = await ask(client, "wait_for_agent", id="late", gone=True)
        assert gone["done"] is True
        assert (await ask(client, "wait_for_agent", id="late", gone=True))["done"] is True
        assert (await refused(client, "wait_for_agent", gone=True))["error"] == "invalid_arguments"


async def test_refusals(command: Command) -> None:
    """What a model calls wrongly is refused with what to do instead, and what writes is refused without
    --allow-writes."""
    cases: list[tuple[str, dict[str, object], str]] = [
        ("search_agents", {}, "missing required field `text`"),
        ("search_agents", {"text": "x", "limit": 0}, ">= 1"),
        ("list_agents", {"helth": "healthy"}, "helth"),
        ("list_agents", {"health": "well"}, "health"),
        ("search_agents", {"text": "a " * 90}, "words"),
        ("no_such_tool", {}, "no such tool"),
        ("register_me", {"id": "me"}, "--allow-writes"),
        ("claim_agent", {}, "--allow-writes"),
        ("set_status", {"doing": "x"}, "--allow-writes"),
        ("release", {"claim": "1"}, "--allow-writes"),
    ]
    async with over_pipes(command, "enveloped") as client:
        assert len((await client.list_tools()).tools) == 4
        for tool, arguments, says in cases:
            assert says in (await refused(client, tool, **arguments))["message"], tool
        elsewhere = await ask(client, "get_agents", ids=["elsewhere/here/a"])
        assert elsewhere["not_registered"] == ["elsewhere/here/a"]
        assert "serves the namespace default alone" in elsewhere["hint"]
        # Models write numbers as text now and then.
        assert local_ids(await ask(client, "list_agents", limit="5")) == []


async def test_an_absent_registry(command: Command, either_way: Way) -> None:
    """Where there is no registry, tools find no agent and say why; they make none. One that is made later is found."""
    async with connected(command, either_way) as client:
        answer = await ask(client, "list_agents")
        assert answer["total"] == 0
        assert "there is no registry" in answer["hint"]
        assert (await ask(client, "get_agents", ids=["planner"]))["not_registered"] == ["planner"]
        assert (await ask(client, "wait_for_agent", id="planner", timeout_seconds=0.1))["done"] is False
        resources = (await client.list_resources()).resources
        assert [resource.uri for resource in resources] == ["adsum://agents"]
        assert not command.folder.exists()
        with adsum.open(path=command.folder, node=NODE, timeout=10) as registry:
            registry.register("planner")
            assert local_ids(await ask(client, "list_agents")) == ["planner"]


async def test_the_registrar_is_killed(command: Command, members: Registry, either_way: Way) -> None:
    """When the registrar is killed, reads go on; a write starts another, and waits go on with it."""
    async with connected(command, either_way, "--allow-writes") as client:
        members.register("planner", health_status="degraded")
        wait = asyncio.create_task(ask(client, "wait_for_agent", id="planner", health="healthy"))
        await asyncio.sleep(0.1)
        kill_registrar(command.folder)
        assert local_ids(await ask(client, "search_agents", text="planner")) == ["planner"]
        answer = await ask(client, "register_me", id="me", pid=os.getpid())
        assert answer["pid"] == os.getpid()
        members.update_health("planner", "healthy")
        assert local_ids(await wait) == ["planner"]
        kill_registrar(command.folder)
        assert local_ids(await ask(client, "set_status", doing="going on", id="me")) == ["me"]
