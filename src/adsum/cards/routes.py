"""The paths of cards and catalogues, as one function from a request to a response.

    GET  /.well-known/ai-catalog.json                            the AI Catalog
    GET  /.well-known/ard.json                                   the ARD manifest
    GET  /agents                                                 a page of the ARD entries
    GET  /agents/IDENTIFIER                                      the ARD entry of an identifier
    POST /search                                                 the ARD search
    POST /explore                                                not implemented
    GET  /agents/NAMESPACE/NODE/LOCAL_ID/.well-known/agent-card.json   the agent card of a member
    GET  /agents/NAMESPACE/NODE/LOCAL_ID/server-card                   the server card of a member

So ``BASE/agents/NAMESPACE/NODE/LOCAL_ID`` is a base URL that a client of A2A takes. `adsum.views.paths` says how the
parts of an id are written. HEAD is answered as GET.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias
from urllib.parse import parse_qs, unquote

from ..errors import AdsumError, InvalidProcessId, InvalidQuery
from ..model import ProcessId
from ..views.mirror import Scope
from ..views.paths import unescaped
from . import ai_catalog, ard, messages
from .ai_catalog import CARD_PATHS
from .collection import AnyRegistry, card_of, living
from .messages import Request, Response
from .search import PAGE_SIZE, is_identifier, listed, page, search
from .site import Site
from .statement import MEDIA_TYPES, Kind, NoCard, etag

MAX_BODY_BYTES = 64 * 1024


class ServedCards(NamedTuple):
    """What is served, and how."""

    registry: AnyRegistry
    site: Site
    scope: Scope | None


_Handler: TypeAlias = Callable[[ServedCards, Request], Response]


def respond(
    registry: AnyRegistry, request: Request, site: Site | None = None, scope: Scope | None = None
) -> Response | None:
    """Answer an HTTP request for a card, a catalogue or a search among the living members in a scope, by default those
    of the registry's namespace. None where the path is none of these, so that a server may have others.

    It reads shared memory, and waits for nothing. Errors of the registry become responses.

    >>> request = adsum.cards.Request("GET", "/.well-known/ai-catalog.json", base_url="http://127.0.0.1:8000")
    >>> response = adsum.cards.respond(registry, request)
    >>> response.status, response.headers["Content-Type"]
    (200, 'application/ai-catalog+json')
    >>> adsum.cards.respond(registry, adsum.cards.Request("GET", "/elsewhere")) is None
    True
    """
    found = _handler(request.path)
    if found is None:
        return None
    methods, handle = found
    site = (site or Site()).at(request.base_url.rstrip("/"))
    response = _handled(ServedCards(registry, site, scope), request, methods, handle)
    return messages.for_any_origin(response) if site.any_origin else response


def _handled(shown: ServedCards, request: Request, methods: tuple[str, ...], handle: _Handler) -> Response:
    if request.method == "OPTIONS":
        return Response(204, {"Allow": ", ".join((*methods, "OPTIONS"))})
    if request.method not in methods:
        allowed = ", ".join(methods)
        return messages.failure(request, 405, "METHOD_NOT_ALLOWED", f"this path takes {allowed}", Allow=allowed)
    try:
        return handle(shown, request)
    except InvalidQuery as error:
        return messages.failure(request, 400, "INVALID_ARGUMENT", str(error))
    except AdsumError as error:
        return messages.failure(request, 503, "UNAVAILABLE", str(error))


def _handler(path: str) -> tuple[tuple[str, ...], _Handler] | None:
    """What answers a path, and the methods that it takes."""
    if (fixed := _FIXED.get(path)) is not None:
        return fixed
    if not path.startswith("/agents/"):
        return None
    rest = path.removeprefix("/agents/")
    for kind, end in CARD_PATHS.items():
        parts = rest.removesuffix(end).split("/")
        if rest.endswith(end) and len(parts) == 3 and all(parts):
            return _READ, _card_handler(kind, parts)
    return (_READ, _entry) if rest and "/" not in rest else None


def _card_handler(kind: Kind, parts: list[str]) -> _Handler:
    def card(shown: ServedCards, request: Request) -> Response:
        try:
            namespace, node, local_id = (unescaped(unquote(part, errors="strict")) for part in parts)
            entry = living(shown.registry, ProcessId(namespace, node, local_id), shown.scope)
        except (UnicodeDecodeError, InvalidProcessId) as error:
            return messages.failure(request, 400, "INVALID_ARGUMENT", f"the path names no process id: {error}")
        name = "/".join((namespace, node, local_id))
        if entry is None:
            return messages.failure(request, 404, "NOT_FOUND", f"no living member is registered as {name}")
        made = card_of(entry, kind, shown.site.publisher)
        if isinstance(made, NoCard):
            return messages.failure(request, 404, "NOT_FOUND", f"{name} has no {kind} card: {made.reason}")
        # A2A serves its card as plain JSON; MCP asks for the card's own type.
        media_type = messages.JSON if kind == "a2a" else MEDIA_TYPES[kind]
        return messages.answer(request, messages.encode(made), media_type, etag(entry))

    return card


def _catalog(shown: ServedCards, request: Request) -> Response:
    return _document(request, ai_catalog.catalog(*shown), ai_catalog.MEDIA_TYPE)


def _manifest(shown: ServedCards, request: Request) -> Response:
    return _document(request, ard.manifest(*shown), messages.JSON)


def _document(request: Request, document: object, media_type: str) -> Response:
    body = messages.encode(document)
    return messages.answer(request, body, media_type, messages.digest_tag(body))


def _list(shown: ServedCards, request: Request) -> Response:
    given = parse_qs(request.query, keep_blank_values=True)
    unknown = given.keys() - {"pageSize", "pageToken"}
    if unknown:
        raise InvalidQuery(f"{', '.join(sorted(unknown))}: not supported; there are pageSize and pageToken")
    size = given.get("pageSize", [str(2 * PAGE_SIZE)])[0]
    if not (size.isascii() and size.isdigit()):
        raise InvalidQuery(f"pageSize {size!r}: give a whole number")
    wanted = page(int(size), given.get("pageToken", [""])[0])
    return messages.plain(request, listed(ard.entries(*shown), wanted))


def _entry(shown: ServedCards, request: Request) -> Response:
    encoded = request.path.removeprefix("/agents/")
    try:
        wanted = unquote(encoded, errors="strict")
    except UnicodeDecodeError:
        wanted = ""
    if not is_identifier(wanted):
        raise InvalidQuery(f"{encoded!r} is no identifier of the form urn:air:PUBLISHER:NAME:KIND, percent-encoded")
    found = ard.find_entry(shown.registry, wanted, shown.site, shown.scope)
    if found is None:
        return messages.failure(request, 404, "NOT_FOUND", f"{wanted} is not here, or its process has died")
    return _document(request, found, messages.JSON)


def _search(shown: ServedCards, request: Request) -> Response:
    if len(request.body) > MAX_BODY_BYTES:
        return messages.failure(request, 413, "INVALID_ARGUMENT", f"a search has at most {MAX_BODY_BYTES} bytes")
    found = search(ard.entries(*shown), request.body, shown.site.base_url + "/")
    return messages.plain(request, found)


def _explore(_: ServedCards, request: Request) -> Response:
    return messages.failure(request, 501, "NOT_IMPLEMENTED", "this registry has search, and no explore")


_READ = ("GET", "HEAD")
_FIXED: dict[str, tuple[tuple[str, ...], _Handler]] = {
    "/.well-known/ai-catalog.json": (_READ, _catalog),
    "/.well-known/ard.json": (_READ, _manifest),
    "/agents": (_READ, _list),
    "/search": (("POST",), _search),
    "/explore": (("POST",), _explore),
}
