"""Cards and catalogues of `adsum.cards`, at the addresses where their clients look for them."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .. import cards
from .site import base_of, site_of


def card_routes() -> list[Route]:
    """The addresses that `adsum.cards.respond` answers."""
    return [
        Route("/.well-known/ai-catalog.json", described),
        Route("/.well-known/ard.json", described),
        Route("/agents", described),
        Route("/agents/{rest:path}", described),
        Route("/search", described, methods=["POST"]),
        Route("/explore", described, methods=["POST"]),
    ]


async def described(request: Request) -> Response:
    """What `adsum.cards` answers."""
    site = site_of(request)
    given = cards.Request(
        method=request.method,
        path=_path_below(request),
        query=request.url.query,
        headers=dict(request.headers.items()),
        body=await _body(request),
        # Starlette's own base URL is that of the outermost application.
        base_url=f"{request.url.scheme}://{request.url.netloc}{base_of(request)}",
    )
    # A catalogue of thousands of members takes a moment.
    made = await run_in_threadpool(cards.respond, site.registry, given, site.settings.cards, site.settings.scope)
    if made is None:
        return Response("there is no such card\n", 404, media_type="text/plain")
    return Response(made.body, made.status, made.headers)


def _path_below(request: Request) -> str:
    path, root = str(request.scope["path"]), str(request.scope.get("root_path", ""))
    return path.removeprefix(root.rstrip("/"))


async def _body(request: Request) -> bytes:
    """The body, up to a little more than what is read as a search."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > cards.MAX_BODY_BYTES:
            break
    return bytes(body)
