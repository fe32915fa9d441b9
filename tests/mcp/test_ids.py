"""Which agent an id means that a client gives: whole ids, local ones with slashes, those that no agent can have."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import ReadResourceRequestParams

import adsum
from adsum import ProcessId, Registry
from adsum.mcp.clients import WebClient
from adsum.mcp.server import AgentServer
from tests.cli.command import NODE, Command

from .connecting import ask, local_ids, over_http, over_pipes, refused, serving

IMPOSSIBLE = ["%00", "x" * 500, "%0A%00", "a%00b", "%ED%A0%80%00"]


@pytest.mark.parametrize("local_id", ["a/b/c", "other/here/me", "default/x/y", f"default/{NODE}/me", "/", "a//b/"])
async def test_a_local_id_with_slashes(command: Command, members: Registry, local_id: str) -> None:
    """A local id that register_me has taken is one in every other tool, however many slashes it has."""
    async with over_pipes(command, "enveloped", "--allow-writes") as client:
        answer = await ask(client, "register_me", id=local_id)
        assert ProcessId("default", NODE, local_id) in members
        for id in (local_id, answer["registered"]):
            assert local_ids(await ask(client, "set_status", id=id, doing="x")) == [local_id]
            assert local_ids(await ask(client, "get_agents", ids=[id])) == [local_id]
            assert local_ids(await ask(client, "wait_for_agent", id=id, timeout_seconds=5)) == [local_id]
            claim = await ask(client, "claim_agent", id=id, timeout_seconds=5)
            assert (await ask(client, "release", claim=claim["claim"]))["released"] is True


async def test_an_id_of_an_answer_precedes_a_local_one(command: Command, members: Registry) -> None:
    """Where an id may be a whole one or a local one, it is the whole one that lives."""
    members.register("me")
    members.register(f"default/{NODE}/me")
    async with over_pipes(command, "enveloped") as client:
        assert local_ids(await ask(client, "get_agents", ids=[f"default/{NODE}/me"])) == ["me"]
        assert local_ids(await ask(client, "get_agents", ids=[f"default/{NODE}/default/{NODE}/me"])) == [
            f"default/{NODE}/me"
        ]


async def test_an_impossible_id_beside_others(command: Command, members: Registry) -> None:
    """An id that no agent can have keeps none of the others from being answered."""
    members.register("planner")
    members.register("coder")
    impossible = ["", "a\0b", "x" * 500, "y" * 5000, "default//planner"]
    async with over_pipes(command, "enveloped") as client:
        answer = await ask(client, "get_agents", ids=["planner", *impossible, "nobody", "coder"])
        assert local_ids(answer) == ["planner", "coder"]
        assert answer["not_registered"] == ["nobody"]
        assert [one["id"][:9] for one in answer["impossible"]] == [id[:9] for id in impossible]
        assert all(one["message"] and len(one["message"]) <= 200 for one in answer["impossible"])
        error = await refused(client, "wait_for_agent", id="a\0b", timeout_seconds=1)
        assert error["error"] == "invalid_process_id"


@pytest.mark.parametrize("end", [*IMPOSSIBLE, "nobody"])
async def test_a_resource_that_no_agent_can_be(command: Command, members: Registry, era: str, end: str) -> None:
    """Reading a resource under an impossible id is answered as one of an agent that is not there, and the server prints
    nothing."""
    members.register("planner")
    with serving(command) as (child, url):
        async with over_http(url, era) as client:
            for uri in (f"adsum://agents/default/{NODE}/{end}", f"adsum://agents/default/{end}/planner"):
                with pytest.raises(MCPError, match="no living agent is registered as"):
                    await client.read_resource(uri)
            assert (await client.read_resource(f"adsum://agents/default/{NODE}/planner")).contents
        child.process.terminate()
        assert child.process.communicate(timeout=20)[1] == b""


async def test_a_registry_that_cannot_be_read(registry_folder: Path) -> None:
    """Where the registry cannot be read, a resource has an error that says why, which is no defect of the server."""
    async with adsum.open_async(path=registry_folder) as registry:
        server = AgentServer(registry, WebClient(), writes=False)
    parameters = ReadResourceRequestParams(uri="adsum://agents")
    with pytest.raises(MCPError, match="closed"):
        await server._read_resource(cast("Any", None), parameters)
    with pytest.raises(MCPError, match="closed"):
        await server._list_resources(cast("Any", None), None)
