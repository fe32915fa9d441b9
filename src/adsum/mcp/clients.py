"""The process that a registration and a claim are for.

It is never this server. A server on standard input and output is started by its client, and may outlive it: an entry
of the server would say that an agent lives whose program has ended. So an entry is for the client, the process that
started the server, and the kernel ends it with that.

Over HTTP no request says which process sent it. A connection carries many clients' requests where a proxy is between
them, and one client uses many connections; an enveloped client has not even a session. So the client has to say its
pid.
"""

from __future__ import annotations

import os
from typing import Protocol

from .failures import ToolError


class HasPid(Protocol):
    """What `adsum` takes as a process: it identifies the pid, and then asks whether that is still the process meant."""

    pid: int

    def is_running(self) -> bool: ...


class Parent:
    """The process that started this one, while that is its parent: a child of a process that ends gets another."""

    def __init__(self) -> None:
        self.pid = os.getppid()

    def is_running(self) -> bool:
        """Whether it still is the process that started this one. Not so where that is of another PID namespace (0),
        and where it had ended before this one began (init, 1)."""
        return self.pid > 1 and os.getppid() == self.pid


class McpClient(Protocol):
    """How a transport knows the client."""

    def to_register(self, pid: int | None) -> int | HasPid:
        """The process with which an entry ends, where the client named this pid. Errors: `ToolError`."""
        ...

    def to_claim(self, pid: int | None) -> int | None:
        """The process that holds a claim, None for this server. Errors: `ToolError`."""
        ...


class PipeClient:
    """The client on standard input and output: the process that started this server.

    A claim without a pid is held by this server, which ends with its session, and then the kernel ends the claim. The
    client itself may go on and begin another session, which would know nothing of the claim.
    """

    def __init__(self, parent: Parent) -> None:
        self._parent = parent

    def to_register(self, pid: int | None) -> int | HasPid:
        if pid is not None:
            return pid
        if not self._parent.is_running():
            raise ToolError(
                "client_unknown",
                "the process that started this server has ended or is not visible here (another PID namespace), so it "
                "cannot be registered; give pid, the number of the process that your entry shall end with",
            )
        return self._parent

    def to_claim(self, pid: int | None) -> int | None:
        return pid


class WebClient:
    """A client over HTTP, which has to say its pid."""

    def to_register(self, pid: int | None) -> int | HasPid:
        return _named(pid, "your entry ends")

    def to_claim(self, pid: int | None) -> int | None:
        return _named(pid, "the claim ends")


def _named(pid: int | None, what: str) -> int:
    if pid is None:
        raise ToolError(
            "client_unknown",
            "over HTTP this server cannot know which process you are: no request says it, and a connection may be that "
            f"of a proxy. Give pid, the number of a process on this machine, and {what} with that one; or have your "
            "program start the server itself, on standard input and output: adsum mcp",
        )
    return pid
