"""A server of the Model Context Protocol (MCP): models find, watch and claim the members of a registry.

Needs the extra: ``pip install 'adsum[mcp]'``. The command ``adsum mcp`` serves, and programs do by `serve_pipe` and
`serve_http`; see docs/how-to/mcp.md.

The protocol has two eras, and this server serves clients of both, on standard input and output as over HTTP:

- **handshake** clients, of the versions up to 2025-11-25, which begin with ``initialize`` and have a session;
- **enveloped** clients, of the version 2026-07-28, whose every request says its version, and which have no session.

A model reads the answers, and what it reads was written by other processes. So their text is data here: bounded in
length, escaped, and apart from the facts that the registry vouches for (`escaping`, `answers`).

*Client* means a client of the protocol here, the program that a model runs in. To the registrar, this server is one.

- `read_tools`, `write_tools`: the tools. `arguments`: what they are called with. `answers`, `paging`: what they answer.
- `resources`, `notices`: members as resources, and the notices of their changes.
- `clients`: the process that a registration is for. That is the client, never this server.
- `tools`, `calls`, `server`: all of these, given to the SDK. `stdio`, `http`, `ending`: the transports and their end.
- `startup`: imports the SDK in less time.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from .startup import EXTRA as EXTRA
from .startup import load

if TYPE_CHECKING:
    from .. import AsyncRegistry

__all__ = ["EXTRA", "serve_http", "serve_pipe"]


def serve_pipe(registry: AsyncRegistry, *, writes: bool = False) -> None:
    """Serve the client that started this process, on standard input and output, until it closes standard input or ends,
    or SIGINT, SIGTERM or SIGHUP comes; then close the registry.

    - `writes`: whether the client may register itself, set its status, and claim members.

    Call it in the main thread, where no event loop runs. Errors: `ModuleNotFoundError` with the name of a package of
    the extra, one of `EXTRA`, where that is not installed.

    >>> code = "import adsum.mcp; adsum.mcp.serve_pipe(adsum.open_async())"
    >>> subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL).returncode
    0
    """
    load("stdio").run(registry, writes=writes)


def serve_http(
    registry: AsyncRegistry,
    listener: socket.socket,
    token: str | None = None,
    *,
    writes: bool = False,
    ready: Callable[[], None] | None = None,
) -> None:
    """Serve clients over HTTP on a listening socket, until SIGINT, SIGTERM or SIGHUP comes; then close the registry.

    - `listener`: on a loopback address: the server answers no other one.
    - `token`: a secret that each request has to give, as ``Authorization: Bearer TOKEN``; None serves each client.
    - `writes`: whether clients may register themselves, set their status, and claim members.
    - `ready`: called once requests are answered.

    Call it in the main thread, where no event loop runs. Errors: `ModuleNotFoundError` as in `serve_pipe`.

    >>> code = '''
    ... import os, signal, socket, adsum.mcp
    ... with socket.create_server(("127.0.0.1", 0)) as listener:
    ...     stop = lambda: os.kill(os.getpid(), signal.SIGTERM)
    ...     adsum.mcp.serve_http(adsum.open_async(), listener, ready=stop)
    ... '''
    >>> subprocess.run([sys.executable, "-c", code]).returncode
    0
    """
    load("http").run(registry, listener, token, writes=writes, ready=ready or _nothing)


def _nothing() -> None:
    """What is called where the caller gives no function."""
