"""The application below a path of another one, served by uvicorn as the documentation advises."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

import adsum
import adsum.web
from adsum import Registry
from tests.support import Child

from .server import Stream


class _Server(uvicorn.Server):
    """Prints its port when it answers."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)


def serve(folder: str) -> None:
    """Serve the application below /adsum, with uvicorn's own way to end."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        # An application that has something to do at its end, meanwhile uvicorn says how requests ended.
        await asyncio.sleep(0.2)

    with adsum.open(path=folder, timeout=20) as registry:
        application = Starlette(routes=[Mount("/adsum", adsum.web.app(registry))], lifespan=lifespan)
        config = uvicorn.Config(application, port=0, log_level="error", timeout_graceful_shutdown=1)
        with contextlib.suppress(KeyboardInterrupt):
            _Server(config).run()


@pytest.mark.parametrize("path", ["/api/events", "/live?topic=members"])
def test_streams_end_with_the_server(registry: Registry, path: str) -> None:
    """When uvicorn ends while a stream is open, the stream ends as an answer does, and no traceback is logged."""
    registry.register("worker")
    child = Child(serve, registry.folder)
    try:
        with Stream("127.0.0.1", int(child.line()), f"/adsum{path}", {}) as stream:
            child.signal(signal.SIGINT)
            assert stream.ends()
        _, errors = child.process.communicate(timeout=20)
    finally:
        child.close()
    assert b"Traceback" not in errors
    assert b"Exception" not in errors
