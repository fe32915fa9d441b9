"""Who may ask: the checks in front of every request, and the headers behind every answer.

- **Host**: a site of an attacker can have its name resolve to this machine (DNS rebinding), and its pages would then be
  of the same origin. The browser still sends that name, so only known names are served.
- **Origin**: a form or script of another site can send a request here. The browser says from where.
- **Token**: where the address can be reached from other machines, each client has to know it.
- **Content security policy**: only the scripts and styles of this application run, none inside a document. Should text
  of a member ever become markup by mistake, it still is no program.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..views.host_header import host_name
from .api import json_response
from .documents import ErrorDocument
from .settings import Settings

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "worker-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
# With "no-referrer" browsers would send no origin with a form.
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# A probe asks by the address of the machine, without a token. The answers say nothing about members.
OPEN_PATHS = ("/livez", "/readyz")
# What the page that asks for the token needs.
LOGIN_PATHS = ("/login", "/static/")
SAFE_METHODS = ("GET", "HEAD")


class Guard:
    """The middleware that refuses what the module describes."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-cache, private")
            await send(message)

        refused = self._refusal(scope)
        await (refused or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        path = _path_below(scope)
        if path in OPEN_PATHS:
            return None
        if not self._knows_host(headers.getlist("host")):
            said = f"this server is not asked for as {headers.get('host')!r}; allow the name: --allow-host, or hosts="
            return _refuse(path, 421, ErrorDocument("unknown_host", said))
        if not self._is_same_origin(scope["method"], headers):
            return _refuse(path, 403, ErrorDocument("other_site", "a request of another site is refused"))
        if self._settings.token is None or path.startswith(LOGIN_PATHS) or self._has_token(headers):
            return None
        if scope["method"] in SAFE_METHODS and "text/html" in headers.get("accept", ""):
            target = quote(path + (f"?{query}" if (query := scope["query_string"].decode("latin-1")) else ""), safe="")
            return RedirectResponse(f"{scope.get('root_path', '')}/login?next={target}", 303)
        refused = ErrorDocument("token_required", "give the token: Authorization: Bearer TOKEN")
        return _refuse(path, 401, refused, {"WWW-Authenticate": "Bearer"})

    def _knows_host(self, hosts: list[str]) -> bool:
        # A server that another program passes its connections to may see a second one.
        name = host_name(hosts[0]) if len(hosts) == 1 else None
        return name is not None and self._is_known(name)

    def _is_known(self, name: str) -> bool:
        return name in self._settings.hosts or (self._settings.any_address and _is_address(name))

    def _is_same_origin(self, method: str, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None:
            # A browser sends an origin with what is not safe. A program that is no browser sends neither.
            site = headers.get("sec-fetch-site", "none")
            return method in SAFE_METHODS or site in ("none", "same-origin")
        try:
            netloc = urlsplit(origin).netloc.lower()
        except ValueError:
            return False
        if not netloc:
            return False
        # A proxy may ask for another host than the browser does; then the browser's is one of the names given.
        return _without_default_port(netloc) == _without_default_port(headers.get("host", "").lower()) or (
            host_name(netloc) in self._settings.hosts - {"localhost", "127.0.0.1", "[::1]", "testserver"}
        )

    def _has_token(self, headers: Headers) -> bool:
        token = self._settings.token or ""
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and is_equal(given.strip(), token):
            return True
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return False
        found = cookies.get(cookie_name(self._settings))
        return found is not None and is_equal(found.value, cookie_value(token))


def _path_below(scope: Scope) -> str:
    """The path below the one where the application is mounted, as its routes see it."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if path.startswith(f"{root}/") else path


def _refuse(
    path: str, status: int, refused: ErrorDocument, headers: MutableMapping[str, str] | None = None
) -> Response:
    """A document in the JSON API, a line of text elsewhere."""
    if path.startswith("/api/"):
        response = json_response(refused, status)
        response.headers.update(headers or {})
        return response
    return PlainTextResponse(f"{refused.message}\n", status, headers=headers)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _without_default_port(netloc: str) -> str:
    return netloc.removesuffix(":80").removesuffix(":443")


def is_equal(given: str, expected: str) -> bool:
    """Whether two secrets are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode("utf-8", "surrogateescape"))


def cookie_name(settings: Settings) -> str:
    """Cookies of one host are shared by all its ports, so each registry has its own."""
    return "adsum_" + hashlib.blake2s(str(settings.registry.folder).encode(), digest_size=6).hexdigest()


def cookie_value(token: str) -> str:
    """What a browser keeps in place of the token."""
    return hmac.new(token.encode("utf-8", "surrogateescape"), b"adsum web", hashlib.sha256).hexdigest()


def login_cookie(settings: Settings, scope: MutableMapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Response.set_cookie` after a login."""
    return {
        "key": cookie_name(settings),
        "value": cookie_value(settings.token or ""),
        "path": scope.get("root_path", "") or "/",
        "httponly": True,
        "secure": scope.get("scheme") == "https",
        "samesite": "strict",
    }
