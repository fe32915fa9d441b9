"""``adsum mcp``: serves models that speak the Model Context Protocol (MCP)."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from typing import Annotated

from cyclopts import Parameter

from ... import admin
from ...mcp import EXTRA, serve_http, serve_pipe
from .. import REGISTRY_ERROR
from ..address import Address, parse_address
from ..options import DEFAULT_REGISTRY, FLAG, RegistryOptions, UsageError

TOKEN_VARIABLE = "ADSUM_MCP_TOKEN"
_EXAMPLE = "127.0.0.1:8765"


def mcp(
    *,
    http: Annotated[
        str | None,
        Parameter(metavar="HOST:PORT", help="Serve over HTTP on this loopback address; port 0 takes a free one."),
    ] = None,
    allow_writes: Annotated[
        bool, FLAG, Parameter(help="Let clients register themselves, set their status, and claim members.")
    ] = False,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """Let models find the members of a registry, over the Model Context Protocol (MCP).

    ```console
    $ claude mcp add adsum -- adsum mcp
    $ adsum mcp --http 127.0.0.1:8765
    ```

    By default a client starts it and speaks with it on standard input and output. It has tools to search, list and
    describe members, and to wait for them; with --allow-writes also to register the client, to set its status, and to
    claim members. Members are resources, too, with notices of their changes. Reading neither makes a registry nor
    starts a registrar; waiting, and listening for changes, starts one where there is a registry.

    What is registered is the process that started the server, and the entry ends with that process. Over HTTP a client
    has to say its pid, because no request says which process sent it.

    With $ADSUM_MCP_TOKEN set, --http answers only requests with that token (Authorization: Bearer TOKEN). It is needed
    for --allow-writes, because every user of the machine can reach the port. Without --http, the command ends with 0
    when its client ends, or closes its standard input; in both cases at Ctrl-C, SIGTERM and SIGHUP. Needs: pip install
    'adsum[mcp]'
    """
    address = None if http is None else _loopback(parse_address("--http", http, _EXAMPLE))
    token = os.environ.get(TOKEN_VARIABLE) or None
    _check(address, token, writes=allow_writes)
    # A registry that cannot be used is refused here, where a person sees it. An absent one is found when it is made.
    admin.page_header(options.folder())
    try:
        if address is None:
            return _serve_pipe(options, allow_writes)
        return _serve_web(options, address, token, allow_writes)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        return _fail(f"this needs {error.name}; run: pip install 'adsum[mcp]'")


def _serve_pipe(options: RegistryOptions, writes: bool) -> int:
    serve_pipe(options.open_async(), writes=writes)
    return 0


def _serve_web(options: RegistryOptions, address: Address, token: str | None, writes: bool) -> int:
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        listener = socket.create_server(address, family=family)
    except OSError as error:
        return _fail(f"cannot listen on {address}: {_reason(error)}; choose another with --http")
    with listener:
        registry = options.open_async()
        where = f"http://{address._replace(port=listener.getsockname()[1])}"

        def ready() -> None:
            print(f"serving {where}/mcp of {registry.folder}", flush=True)

        serve_http(registry, listener, token, writes=writes, ready=ready)
    return 0


def _check(address: Address | None, token: str | None, *, writes: bool) -> None:
    if address is None and sys.stdin is None:
        raise UsageError("standard input is closed; an MCP client starts this command, or give --http HOST:PORT")
    if address is not None and writes and token is None:
        raise UsageError(
            f"--allow-writes with --http needs a token, because every user of this machine can reach the port: set "
            f"${TOKEN_VARIABLE}, and give it to clients as the header 'Authorization: Bearer TOKEN'"
        )
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise UsageError(f"${TOKEN_VARIABLE}: give printable ASCII characters without spaces")


def _loopback(address: Address) -> Address:
    """The address, if no other machine can reach it. Errors: `UsageError`."""
    host = "127.0.0.1" if address.host == "localhost" else address.host
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise UsageError(
            f"--http {address}: give a loopback address, such as {_EXAMPLE}; for other machines, put a proxy with "
            "encryption and authentication in front of it"
        )
    return address._replace(host=host)


def _reason(error: OSError) -> str:
    # Without what `socket.create_server` adds to it, the address again.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


def _fail(message: str) -> int:
    print(f"adsum: {message}", file=sys.stderr)
    return REGISTRY_ERROR
