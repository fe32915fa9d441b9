"""The server of ``adsum web``: uvicorn, which ends with its streams at a signal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

_END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Answers that are under way when the end comes get so many seconds.
GRACE_SECONDS = 2


def serve(
    application: ASGIApp, sock: socket.socket, end_streams: Callable[[], None], ready: Callable[[], None]
) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP. `end_streams` is called then; `ready` when connections are accepted."""
    config = uvicorn.Config(
        application,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        # What other programs say of the client's address is of no use here.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    _PageServer(config, end_streams, ready).run(sockets=[sock])


class _PageServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, end_streams: Callable[[], None], ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._end_streams = end_streams
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # A stream never ends by itself, and the server waits for all answers.
        self._end_streams()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End in order at each of the signals; uvicorn's own way raises it again after the end."""
        loop = asyncio.get_running_loop()
        # A signal that was ignored from the start, such as SIGHUP under nohup(1), stays ignored.
        ends = [number for number in _END_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        for number in ends:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in ends:
                loop.remove_signal_handler(number)


class PrefixedApplication:
    """An application below a path, behind a proxy. Some proxies leave the path in front of what they pass on, and some
    take it away."""

    def __init__(self, application: ASGIApp, prefix: str) -> None:
        self._application = application
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            if path != self._prefix and not path.startswith(f"{self._prefix}/"):
                path = self._prefix + path
            scope = {**scope, "path": path, "root_path": self._prefix}
        await self._application(scope, receive, send)
