"""Clients of the SDK, connected to a real ``adsum mcp`` on either transport and of either era."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.session import IncomingMessage
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from tests.cli.command import ADSUM, Command
from tests.support import Child
from tests.support.processes import open_files

TOKEN = "a-token-of-this-test"
SERVING = re.compile(r"serving (http://\S+/mcp) of (\S+)")
MODES = {"enveloped": "auto", "handshake": "legacy"}
VERSIONS = {"enveloped": "2026-07-28", "handshake": "2025-11-25"}


class Way(NamedTuple):
    """How a client is connected."""

    transport: str
    era: str


WAYS = [Way(transport, era) for transport in ("stdio", "http") for era in MODES]


@contextlib.contextmanager
def serving(
    command: Command, *options: str, token: str | None = TOKEN, address: str = "127.0.0.1:0"
) -> Iterator[tuple[Child, str]]:
    """``adsum mcp --http`` on a free port, and its address."""
    environment = {"ADSUM_MCP_TOKEN": token} if token else {}
    command.environment.update(environment)
    with command.start("mcp", "--http", address, *options) as child:
        said = SERVING.fullmatch(child.line(30))
        assert said is not None
        assert said[2] == str(command.folder)
        yield child, said[1]


@asynccontextmanager
async def connected(
    command: Command, way: Way, *options: str, heard: Callable[[IncomingMessage], None] | None = None
) -> AsyncIterator[Client]:
    """A client of a server of its own. `heard` gets every notice of a session."""
    if way.transport == "stdio":
        async with over_pipes(command, way.era, *options, heard=heard) as client:
            yield client
        return
    with serving(command, *options) as (_, url):
        async with over_http(url, way.era, heard=heard) as client:
            yield client


@asynccontextmanager
async def over_pipes(
    command: Command, era: str, *options: str, heard: Callable[[IncomingMessage], None] | None = None
) -> AsyncIterator[Client]:
    """A client that starts its server, as a child of this process."""
    program, *arguments = ADSUM
    parameters = StdioServerParameters(
        command=program, args=[*arguments, "mcp", *options], env={**command.environment, "PYTHONUNBUFFERED": "1"}
    )
    async with Client(stdio_client(parameters), mode=MODES[era], message_handler=_handler(heard)) as client:
        assert client.protocol_version == VERSIONS[era]
        yield client


@asynccontextmanager
async def over_http(
    url: str, era: str, *, heard: Callable[[IncomingMessage], None] | None = None, token: str | None = TOKEN
) -> AsyncIterator[Client]:
    """A client of a server that runs."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with create_mcp_http_client(headers=headers) as web:
        transport = streamable_http_client(url, http_client=web)
        async with Client(transport, mode=MODES[era], message_handler=_handler(heard)) as client:
            assert client.protocol_version == VERSIONS[era]
            yield client


@contextlib.contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process to register, which lives until the end of the block."""
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            yield process
        finally:
            process.kill()


def _handler(heard: Callable[[IncomingMessage], None] | None) -> Any:
    async def handle(message: IncomingMessage) -> None:
        if heard is not None:
            heard(message)

    return handle


async def ask(client: Client, tool: str, **arguments: object) -> dict[str, Any]:
    """What a tool answers."""
    document, is_error = await _call(client, tool, arguments)
    assert not is_error, document
    return document


async def refused(client: Client, tool: str, **arguments: object) -> dict[str, Any]:
    """What a tool answers that refuses to do it."""
    document, is_error = await _call(client, tool, arguments)
    assert is_error, document
    assert set(document) == {"error", "message"}
    return document


async def _call(client: Client, tool: str, arguments: Mapping[str, object]) -> tuple[dict[str, Any], bool]:
    result = await client.call_tool(tool, dict(arguments))
    (content,) = result.content
    assert content.type == "text"
    document = json.loads(content.text)
    assert isinstance(document, dict)
    return document, bool(result.is_error)


def local_ids(answer: Mapping[str, Any]) -> list[str]:
    """The local ids of the agents in an answer."""
    return [agent["id"].split("/", 2)[2] for agent in answer["agents"]]


def epolls(pid: int) -> int:
    """How many epolls a process has: one for its event loop, and one for each watch."""
    return sum("eventpoll" in file for file in open_files(pid).values())
