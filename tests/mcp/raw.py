"""A client that is a process of its own and speaks the protocol by hand, so that it can be killed, stopped and rude.

It starts ``adsum mcp`` as its child, prints the server's pid, and passes on what the test says, line by line; each line
of the server it prints.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.cli.command import ADSUM, Command
from tests.support import Child

_CLIENT = """
import subprocess, sys, threading
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
print(server.pid, flush=True)
# A child of the client that has the server's standard input open, and outlives the client.
leftover = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL, pass_fds=[server.stdin.fileno()])
print(leftover.pid, flush=True)
def copy():
    for line in server.stdout:
        print(line.decode(), end="", flush=True)
    print("ended", server.wait(), flush=True)
threading.Thread(target=copy, daemon=True).start()
for line in sys.stdin:
    server.stdin.write(line.encode())
leftover.kill()
leftover.wait()
server.stdin.close()
server.wait()
"""


class RawClient:
    """The client, and the pids of its server and of the child that it leaves behind."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.server_pid = int(child.line())
        self.leftover_pid = int(child.line())
        self._number = 0

    def say(self, message: dict[str, Any]) -> None:
        self.child.say(json.dumps({"jsonrpc": "2.0", **message}))

    def begin(self) -> None:
        """The handshake."""
        info = {"name": "raw", "version": "1"}
        version = "2025-11-25"
        self.ask("initialize", protocolVersion=version, capabilities={}, clientInfo=info)
        self.say({"method": "notifications/initialized"})

    def send(self, method: str, **params: object) -> int:
        """Send a request, and return its number."""
        self._number += 1
        self.say({"id": self._number, "method": method, "params": params})
        return self._number

    def ask(self, method: str, **params: object) -> dict[str, Any]:
        """Send a request, and return its answer."""
        return self.answer(self.send(method, **params))

    def answer(self, number: int) -> dict[str, Any]:
        """The answer to a request."""
        while True:
            heard: dict[str, Any] = json.loads(self.child.line(30))
            if heard.get("id") == number:
                return heard

    def call(self, tool: str, **arguments: object) -> Any:
        """What a tool answers."""
        return parse(self.ask("tools/call", name=tool, arguments=arguments))


def parse(answer: dict[str, Any]) -> Any:
    """The document in the answer to the call of a tool."""
    (content,) = answer["result"]["content"]
    return json.loads(content["text"])


@contextmanager
def raw_client(command: Command, *options: str) -> Iterator[RawClient]:
    """A client with its server, which has said hello."""
    with Child(_CLIENT, *ADSUM, "mcp", *options, env=command.environment) as child:
        client = RawClient(child)
        client.begin()
        yield client
