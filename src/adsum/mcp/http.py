"""Serves clients over streamable HTTP, on a loopback address.

Every process of the machine can reach a loopback port, those of other users too, and so can a web page in a browser of
this machine. Against pages the Host and Origin of each request are compared with loopback names. Against other users
there is a token, without which no request is answered; a server that writes has to have one.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import uvicorn

from ..views.host_header import host_name, is_of_host
from .clients import WebClient
from .ending import ended_by_signals
from .server import AgentServer

if TYPE_CHECKING:
    from .. import AsyncRegistry

PATH = "/mcp"
# How long requests that are under way at the end may take.
_END_SECONDS = 1
# How long the answers of calls that are ended may take.
_ANSWER_SECONDS = 0.2
# What a browser of this machine calls it, and no name that another site can have.
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})

# As ASGI has them (asgi.readthedocs.io).
_Scope: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_App: TypeAlias = Callable[[_Scope, _Receive, _Send], Awaitable[None]]


def run(
    registry: AsyncRegistry, listener: socket.socket, token: str | None, *, writes: bool, ready: Callable[[], None]
) -> None:
    """Serve until a signal asks to end, and close the registry."""

    async def main() -> None:
        async with registry:
            await serve(registry, listener, token, writes=writes, ready=ready)

    asyncio.run(main())


async def serve(
    registry: AsyncRegistry, listener: socket.socket, token: str | None, *, writes: bool, ready: Callable[[], None]
) -> None:
    """Serve on a listening socket until a signal asks to end; `ready` is called when requests are answered."""
    server = AgentServer(registry, WebClient(), writes=writes)
    app = server.streamable_http_app(streamable_http_path=PATH, host="127.0.0.1")
    config = uvicorn.Config(
        _GuardedApplication(app, token),
        loop="asyncio",
        http="h11",
        ws="none",
        access_log=False,
        log_level="error",
        timeout_graceful_shutdown=_END_SECONDS,
    )
    web = _WebServer(config, ready)
    end = asyncio.Event()
    with ended_by_signals(end):
        serving = asyncio.ensure_future(web.serve([listener]))
        ending = asyncio.ensure_future(end.wait())
        try:
            await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
            # The streams of listening clients would keep the server from ending.
            if await server.close():
                # The SDK does not say when an answer is written. uvicorn cuts it off if it is not.
                await asyncio.sleep(_ANSWER_SECONDS)
            # The stream that a session keeps open is cut off now. That is no error.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            web.should_exit = True
            await asyncio.wait({serving, ending})
        serving.result()


class _WebServer(uvicorn.Server):
    """Calls `ready` when it answers requests, and leaves signals alone: calls are answered before it ends."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


class _GuardedApplication:
    """An application that answers only requests that ask for a loopback name, come from none but its pages, and have
    the token where there is one. The SDK compares names too, and only how they begin."""

    def __init__(self, app: _App, token: str | None) -> None:
        self._app = app
        self._expected = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif [host_name(host) in _LOOPBACK for host in _header(scope, b"host")] != [True]:
            await _refuse(
                send, 421, b"this server is asked for as 127.0.0.1:PORT or localhost:PORT, by no other name\n"
            )
        elif not all(is_of_host(origin, _LOOPBACK) for origin in _header(scope, b"origin")):
            await _refuse(send, 403, b"a request of another site is refused\n")
        elif not self._is_admitted(scope):
            said = b"give the token of this server: Authorization: Bearer TOKEN\n"
            await _refuse(send, 401, said, (b"www-authenticate", b"Bearer"))
        else:
            await self._app(scope, receive, send)

    def _is_admitted(self, scope: _Scope) -> bool:
        if self._expected is None:
            return True
        given = _header(scope, b"authorization")
        return len(given) == 1 and hmac.compare_digest(given[0].encode("latin-1"), self._expected)


def _header(scope: _Scope, wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == wanted]


async def _refuse(send: _Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    sent = [*headers, (b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body})
