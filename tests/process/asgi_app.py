"""An application for `test_asgi`, served by real servers. It imports no test of adsum."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import adsum

# What the application says of its readiness is in this file, or nothing where it is absent.
READY = Path(os.environ["ASGI_TEST_READY"])
INNER: list[str] = []


def _said() -> str:
    return READY.read_text() if READY.exists() else "True"


async def ready() -> bool | str:
    """Whether the application is ready."""
    said = _said()
    if said == "hang":
        await asyncio.sleep(3600)
    if said == "raise":
        raise RuntimeError("the database is away")
    return {"True": True, "False": False}.get(said, said)


@asynccontextmanager
async def inner(app: Starlette) -> AsyncIterator[dict[str, str]]:
    """The application's own lifespan."""
    INNER.append("started")
    yield {"own": "state"}


async def show(request: Request) -> JSONResponse:
    """What the application knows of itself."""
    members = [entry.process_id.local_id for entry in request.state.adsum.find()]
    return JSONResponse({"pid": os.getpid(), "members": members, "own": request.state.own, "inner": INNER})


app = Starlette(
    routes=[Route("/", show)],
    lifespan=adsum.asgi.lifespan(
        os.environ.get("ASGI_TEST_ID", "api-{pid}"),
        inner=inner,
        ready=ready,
        interval=0.05,
        capabilities={"api"},
        heartbeat="loop",
    ),
)
