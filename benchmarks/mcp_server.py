"""How soon does ``adsum mcp`` answer: after its start, and among 1,000 members?

On standard input and output, to a client that writes lines and reads lines: it measures the server.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import IO, Any, cast

import adsum
from harness import Row, fresh_registry, microseconds, save, show

MEMBERS = 1_000
CALLS = 500
STARTS = 15
_WORDS = ("planning", "review", "coding", "testing", "search", "summary", "translation", "vision", "speech", "billing")


class Server:
    """A server that has just been started."""

    def __init__(self, registry: adsum.Registry) -> None:
        command = [sys.executable, "-m", "adsum.cli", "mcp", "--path", str(registry.folder)]
        self.began = time.perf_counter_ns()
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._input = cast("IO[bytes]", self._process.stdin)
        self._output = cast("IO[bytes]", self._process.stdout)
        self._number = 0

    def ask(self, method: str, **params: object) -> Any:
        """Send a request and read its answer."""
        self._number += 1
        self._send({"id": self._number, "method": method, "params": params})
        while True:
            answer = json.loads(self._line())
            if answer.get("id") == self._number:
                return answer["result"]

    def begin(self) -> None:
        """The handshake."""
        client = {"name": "benchmark", "version": "1"}
        self.ask("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=client)
        self._send({"method": "notifications/initialized"})

    def call(self, tool: str, **arguments: object) -> Any:
        """Call a tool, and read what it answers."""
        return json.loads(self.ask("tools/call", name=tool, arguments=arguments)["content"][0]["text"])

    def close(self) -> None:
        self._input.close()
        self._process.wait()
        self._output.close()

    def _send(self, message: dict[str, object]) -> None:
        self._input.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            part = self._output.read(1 << 16)
            if not part:
                raise RuntimeError("the server ended")
            line += part
        return line


@contextmanager
def _serving(registry: adsum.Registry) -> Iterator[Server]:
    server = Server(registry)
    try:
        yield server
    finally:
        server.close()


def main() -> Row:
    with fresh_registry() as registry, subprocess.Popen(["sleep", "3600"]) as owner:
        try:
            _fill(registry, owner)
            results = {"starts": _starts(registry), "calls": _calls(registry)}
        finally:
            owner.kill()
    show("start of `adsum mcp`, microseconds", results["starts"])
    show(f"calls of tools among {MEMBERS:,} members, microseconds", results["calls"])
    print(f"  mcp {version('mcp')}, pydantic {version('pydantic')}")
    results["versions"] = [{name: version(name) for name in ("mcp", "pydantic", "anyio")}]
    save("mcp_server", dict(results))
    return dict(results)


def _fill(registry: adsum.Registry, owner: subprocess.Popen[bytes]) -> None:
    for first in range(0, MEMBERS, 250):
        registry.register_many([_member(number) for number in range(first, first + 250)], owner)


def _member(number: int) -> tuple[str, adsum.MetadataKeywords]:
    word, other = _WORDS[number % 10], _WORDS[number // 10 % 10]
    return f"agent-{number:04}", {
        "capabilities": {word, f"skill-{number % 100}"},
        "description": f"Does {word} for the team of {other}, in steps that others can follow",
        "doing": f"step {number % 17} of {other}",
    }


def _starts(registry: adsum.Registry) -> list[Row]:
    handshakes, answers = [], []
    for _ in range(STARTS):
        with _serving(registry) as server:
            server.begin()
            handshakes.append(time.perf_counter_ns() - server.began)
            if server.call("search_agents", text="planning")["total"] != _expected("planning"):
                raise RuntimeError("the search gave other agents")
            answers.append(time.perf_counter_ns() - server.began)
    return [
        {"from the start until": "the handshake is answered", **microseconds(handshakes)},
        {"from the start until": "the first search is answered", **microseconds(answers)},
    ]


def _calls(registry: adsum.Registry) -> list[Row]:
    asked: dict[str, tuple[str, list[dict[str, object]]]] = {
        "search_agents, one word": ("search_agents", [{"text": word} for word in _WORDS]),
        "search_agents, two words": ("search_agents", [{"text": f"{word} step"} for word in _WORDS]),
        "search_agents, a word that none has": ("search_agents", [{"text": "absent"}]),
        "list_agents, by capability": ("list_agents", [{"capability": word} for word in _WORDS]),
        "list_agents, 100 of all": ("list_agents", [{"limit": 100}]),
        "get_agents, one": ("get_agents", [{"ids": [f"agent-{number:04}"]} for number in range(100)]),
    }
    rows = []
    with _serving(registry) as server:
        server.begin()
        for what, (tool, arguments) in asked.items():
            samples = []
            for number in range(CALLS):
                begin = time.perf_counter_ns()
                server.call(tool, **arguments[number % len(arguments)])
                samples.append(time.perf_counter_ns() - begin)
            rows.append({"call": what, **microseconds(samples)})
    return rows


def _expected(word: str) -> int:
    return sum(word in str(fields) for _, fields in map(_member, range(MEMBERS)))


if __name__ == "__main__":
    main()
