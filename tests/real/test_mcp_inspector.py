"""The official inspector of MCP, a client of another implementation (TypeScript), against ``adsum mcp``.

`make test-real` installs it, with a Node.js that is new enough, where there is npm.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import Registry
from tests.cli.command import ADSUM, NODE, Command
from tests.mcp.connecting import TOKEN, serving, sleeper

pytestmark = pytest.mark.real

_MODULES = Path(sys.prefix) / "inspector" / "node_modules"
_PROGRAM = _MODULES / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build" / "index.js"


def _node() -> Path:
    found = next(_MODULES.glob("node-linux-*/bin/node"), None)
    if found is None or not _PROGRAM.exists():
        pytest.skip("no inspector; `make test-real` installs it where there is npm")
    return found


@pytest.fixture
def command(registry_folder: Path) -> Command:
    """`adsum`, with a default registry of this test's own."""
    return Command(registry_folder.with_name("default"))


@pytest.fixture
def members(command: Command) -> Iterator[Registry]:
    """The same registry, with one member."""
    with adsum.open(path=command.folder, node=NODE, timeout=10) as registry, sleeper() as process:
        registry.register("planner", process, capabilities={"planning"}, description="Plans <b>all</b>")
        yield registry


class Inspector:
    """The inspector's command line, in one era."""

    def __init__(self, home: Path, era: str, target: list[str]) -> None:
        self._home = home
        self._target = target
        self._options = ["--protocol-era", era, "--format", "json"]

    def __call__(self, method: str, *options: str) -> Any:
        """The result of one method."""
        done = subprocess.run(
            [str(_node()), str(_PROGRAM), "--cli", *self._target, *self._options, "--method", method, *options],
            env={"HOME": str(self._home), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        document = json.loads(done.stdout)
        return document.get("result", document)

    def tool(self, name: str, **arguments: object) -> Any:
        """What a tool answers."""
        result = self("tools/call", "--tool-name", name, "--tool-args-json", json.dumps(arguments))
        return json.loads(result["content"][0]["text"])


@pytest.fixture(params=["stdio-legacy", "stdio-modern", "http-legacy", "http-modern"])
def inspector(
    request: pytest.FixtureRequest, command: Command, members: Registry, tmp_path: Path
) -> Iterator[Inspector]:
    """The inspector in either era, with a server that it starts or with one that runs."""
    _node()
    transport, _, era = str(request.param).partition("-")
    if transport == "stdio":
        yield Inspector(tmp_path, era, [*ADSUM, "mcp", "--path", str(command.folder), "--allow-writes"])
        return
    with serving(command, "--allow-writes") as (_, url):
        yield Inspector(tmp_path, era, [url, "--header", f"Authorization: Bearer {TOKEN}"])


def test_the_inspector_finds_what_is_there(inspector: Inspector, members: Registry) -> None:
    """It finds tools whose schemas every client can use, calls them, and reads resources."""
    tools = inspector("tools/list", "--strict")["tools"]
    assert [tool["name"] for tool in tools][:2] == ["search_agents", "list_agents"]
    assert len(tools) == 8
    found = inspector.tool("search_agents", text="planning")
    assert found["agents"][0]["id"] == "default/here/planner"
    assert found["agents"][0]["stated"]["description"] == "Plans <b>all</b>"
    uris = [resource["uri"] for resource in inspector("resources/list")["resources"]]
    assert uris == ["adsum://agents", "adsum://agents/default/here/planner"]
    (content,) = inspector("resources/read", "--uri", uris[1])["contents"]
    assert json.loads(content["text"])["agent"]["pid"] == members["planner"].pid
    (template,) = inspector("resources/templates/list")["resourceTemplates"]
    assert template["uriTemplate"].startswith("adsum://agents/")
