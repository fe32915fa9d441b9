"""The application: its routes, in front of them the guard."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from .. import Registry
from ..cards import Site as CardSite
from ..errors import AdsumError
from ..views.host_header import known_hosts
from ..views.mirror import Scope
from . import actions, api, metrics, streams
from .broadcast import Broadcaster
from .cards import card_routes
from .documents import ErrorDocument
from .guard import Guard
from .html import ASSETS
from .login import login
from .pages.departures import departures_page
from .pages.events import events_page
from .pages.hosts import hosts_page
from .pages.member import member_page
from .pages.members import members_page
from .pages.registry import audit_part, registry_page
from .pages.team import team_page
from .settings import LOOPBACK_HOSTS, Settings
from .site import WebSite, site_of

MEMBER = "/{namespace}/{node}/{local_id}"


def build(
    registry: Registry,
    *,
    scope: Scope,
    allow_writes: bool,
    token: str | None,
    hosts: Collection[str],
    any_address: bool,
    cards: CardSite,
) -> Starlette:
    """The application for a registry. See `adsum.web.app`."""
    if not isinstance(registry, Registry):
        raise TypeError(f"registry={registry!r}: give what adsum.open() returns; an AsyncRegistry is not shown")
    if token is not None and not token:
        raise ValueError("token='': give a secret, or None for none")
    broadcaster = Broadcaster(registry, scope)
    settings = Settings(
        registry=registry,
        broadcaster=broadcaster,
        scope=scope,
        allow_writes=allow_writes,
        token=token,
        hosts=LOOPBACK_HOSTS | known_hosts(hosts),
        any_address=any_address,
        cards=cards,
    )
    application = Starlette(
        routes=routes(),
        middleware=[Middleware(Guard, settings=settings)],
        exception_handlers={AdsumError: _unreadable, 404: _not_found, 405: _wrong_method},
    )
    application.state.site = WebSite(settings)
    application.state.audit = None
    application.state.audit_lock = asyncio.Lock()
    return application


def routes() -> list[BaseRoute]:
    """Every address of the application."""
    return [
        Route("/", members_page, name="members"),
        Route(f"/members{MEMBER}", member_page),
        Route(f"/members{MEMBER}/health", actions.set_health, methods=["POST"]),
        Route(f"/members{MEMBER}/unregister", actions.unregister, methods=["POST"]),
        Route("/departures", departures_page),
        Route("/events", events_page),
        Route("/team", team_page),
        Route("/registry", registry_page),
        Route("/hosts", hosts_page),
        Route("/registry/audit", audit_part, methods=["POST"]),
        Route("/live", streams.live, methods=["GET"]),
        Route("/login", login, methods=["GET", "POST"]),
        Route("/static/{name}", asset),
        Route("/livez", livez),
        Route("/readyz", readyz),
        Route("/metrics", metrics.metrics),
        *api_routes(),
        *card_routes(),
    ]


def api_routes() -> list[Route]:
    """The addresses of the JSON API, which docs/openapi.json describes."""
    return [
        Route("/api/members", api.members),
        Route(f"/api/members{MEMBER}", api.member),
        Route("/api/departures", api.departures),
        Route("/api/events", streams.events, methods=["GET"]),
        Route("/api/openapi.json", openapi_document),
    ]


async def openapi_document(_: Request) -> Response:
    """The description of the API."""
    # Imported late, so that the module can be run as a program, too.
    from .openapi import description

    return api.json_response(description())


async def asset(request: Request) -> Response:
    """A static file. Its address has its version, so a browser may keep it."""
    found = ASSETS.get(request.path_params["name"])
    if found is None:
        return PlainTextResponse("there is no such file\n", 404)
    return Response(
        found.content, media_type=found.media_type, headers={"Cache-Control": "public, max-age=31536000, immutable"}
    )


async def livez(_: Request) -> Response:
    """The server answers."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """The registry can be read; 503 where it cannot."""
    try:
        site_of(request).registry.stats()
    except AdsumError as error:
        return PlainTextResponse(f"{error.reason}\n", 503)
    return PlainTextResponse("ok\n")


async def _unreadable(request: Request, error: Exception) -> Response:
    """The registry was closed, or is damaged, or of another version."""
    reason = error.reason if isinstance(error, AdsumError) else "internal_error"
    if _is_of_api(request):
        return api.json_response(ErrorDocument(reason, str(error)), 503)
    return site_of(request).page(request, "problem.html", 503, active="", problem=str(error), headline="Not readable")


async def _wrong_method(request: Request, error: Exception) -> Response:
    """The address is there, and does not take what was sent."""
    headers = getattr(error, "headers", None) or {}
    said = f"this address takes {headers.get('Allow', 'other methods')}, and no {request.method}"
    if not _is_of_api(request):
        return PlainTextResponse(f"{said}\n", 405, headers=headers)
    response = api.json_response(ErrorDocument("method_not_allowed", said), 405)
    response.headers.update(headers)
    return response


def _is_of_api(request: Request) -> bool:
    return request.url.path.startswith(f"{request.scope.get('root_path', '')}/api/")


async def _not_found(request: Request, _: Exception) -> Response:
    if _is_of_api(request):
        return api.json_response(ErrorDocument("not_found", "there is no such address; see /api/openapi.json"), 404)
    return site_of(request).page(
        request, "problem.html", 404, active="", problem="There is no such page.", headline="Not found"
    )
