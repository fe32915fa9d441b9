"""The page that asks for the token, and the cookie that a browser keeps in its place."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from .guard import is_equal, login_cookie
from .site import WebSite, base_of, site_of

MAX_BODY = 4096


async def login(request: Request) -> Response:
    """Ask for the token, or take it: from the form, or from ``?token=`` in the address that the command printed."""
    site = site_of(request)
    if request.method == "POST":
        fields = parse_qs((await _body(request)).decode("utf-8", "replace"), max_num_fields=20)
        given, target = fields.get("token", [""])[0].strip(), fields.get("next", ["/"])[0]
    else:
        given, target = request.query_params.get("token", ""), request.query_params.get("next", "/")
    if site.settings.token is None or (given and is_equal(given, site.settings.token)):
        return _logged_in(request, site, _local(target))
    return site.page(request, "login.html", 401 if given else 200, active="", failed=bool(given), target=_local(target))


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            return b""
    return body


def _logged_in(request: Request, site: WebSite, target: str) -> Response:
    response = RedirectResponse(f"{base_of(request)}{target}", 303)
    if site.settings.token is not None:
        response.set_cookie(**login_cookie(site.settings, request.scope))
    return response


def _local(target: str) -> str:
    """The target, if it is a path of this application: a login must not lead to another site."""
    parts = urlsplit(target.replace("\\", "/"))
    is_local = target.startswith("/") and not target.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return target if is_local and target.isprintable() else "/"
