"""Web pages of a registry: its members live, their departures and events, and a JSON API. Needs the extra ``web``.

    import adsum, adsum.web

    application = adsum.web.app(adsum.open())     # an ASGI application
    other_application.mount("/adsum", application)  # below a path of a Starlette or FastAPI application

``adsum web`` serves the same application by itself. It reads through the public calls and `adsum.views`, like the
command line: it starts no registrar, and goes on while one is stopped.
"""

from __future__ import annotations

from collections.abc import Collection

from .. import Registry
from ..cards import Site
from ..views.mirror import Scope

try:
    from starlette.applications import Starlette

    from .application import build
except ModuleNotFoundError as missing:
    if (missing.name or "").partition(".")[0] not in ("starlette", "anyio", "jinja2", "markupsafe"):
        raise
    raise ModuleNotFoundError(
        f"the web pages need {missing.name}, which is not installed; run: pip install 'adsum[web]'", name=missing.name
    ) from missing


def app(
    registry: Registry,
    *,
    namespace: str | None = None,
    node: str | None = None,
    allow_writes: bool = False,
    token: str | None = None,
    hosts: Collection[str] = (),
    any_address: bool = False,
    cards: Site | None = None,
) -> Starlette:
    """Make the web application of a registry, which must stay open while it serves: an ASGI application, to be served
    by itself or mounted below any path of another one. It runs under asyncio.

    - `namespace`, `node`: show only the members in this namespace, on this node; None for all.
    - `allow_writes`: whether the pages may set a health status and unregister. Then each client may that is served.
    - `token`: a secret that each client has to give: a browser once, in a form; a program as
      ``Authorization: Bearer TOKEN``. None, the default, serves each client that reaches it.
    - `hosts`: the names by which browsers ask for it, besides those of this machine for itself, ``localhost`` and the
      like. Other names are refused, so that no foreign site can have its own name lead here.
    - `any_address`: whether it may be asked for by any IP address too.
    - `cards`: where and in whose name the cards of members are published; see `adsum.cards.Site`.

    Errors: `TypeError` for what is no registry; `ValueError` for an empty token, and for what is no name of a host.

    >>> application = adsum.web.app(registry, hosts={"agents.example"})
    >>> "/api/members" in {route.path for route in application.routes}
    True
    """
    return build(
        registry,
        scope=Scope(namespace, node),
        allow_writes=allow_writes,
        token=token,
        hosts=hosts,
        any_address=any_address,
        cards=cards or Site(),
    )
