"""The paths of cards and catalogues, as one function from a request to a response.

    GET  /.well-known/ai-catalog.json                            the AI Catalog
    GET  /.well-known/ard.json                                   the ARD manifest
    GET  /agents                                                 a page of the ARD entries
    GET  /agents/IDENTIFIER                                      the ARD entry of an identifier
    POST /search                                                 the ARD search
    POST /explore                                                not implemented
    GET  /agents/NAMESPACE/NODE/LOCAL_ID/.well-known/agent-card.json   the agent card of a member
    GET  /agents/NAMESPACE/NODE/LOCAL_ID/server-card                   the server card of a member

So ``BASE/agents/NAMESPACE/NODE/LOCAL_ID`` is a base URL that a client of A2A takes. Every part of a path is
percent-encoded. HEAD is answered as GET.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias
from urllib.parse import parse_qs, unquote

from ..errors import AdsumError, InvalidProcessId, InvalidQuery
from ..model import ProcessId
from . import ai_catalog, ard, messages
from .ai_catalog import CARD_PATHS
from .collection import AnyRegistry, card_of, living
from .messages import Request, Response
from .search import PAGE_SIZE, is_identifier, listed, page, search
from .site import Site
from .stated import MEDIA_TYPES, Kind, NoCard, etag

MAX_BODY_BYTES = 64 * 1024
_Handler: TypeAlias = Callable[[AnyRegistry, Request, Site], Response]


def respond(registry: AnyRegistry, request: Request, site: Site | None = None) -> Response | None:
    """Answer an HTTP request for a card, a catalogue or a search among the living members of a registry's namespace.
    None where the path is none of these, so that a server may have others.

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
    response = _handled(registry, request, site, methods, handle)
    return messages.for_any_origin(response) if site.any_origin else response


def _handled(
    registry: AnyRegistry, request: Request, site: Site, methods: tuple[str, ...], handle: _Handler
) -> Response:
    if request.method == "OPTIONS":
        return Response(204, {"Allow": ", ".join((*methods, "OPTIONS"))})
    if request.method not in methods:
        allowed = ", ".join(methods)
        return messages.failure(request, 405, "METHOD_NOT_ALLOWED", f"this path takes {allowed}", Allow=allowed)
    try:
        return handle(registry, request, site)
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
    def card(registry: AnyRegistry, request: Request, site: Site) -> Response:
        try:
            namespace, node, local_id = (unquote(part, errors="strict") for part in parts)
            entry = living(registry, ProcessId(namespace, node, local_id))
        except (UnicodeDecodeError, InvalidProcessId) as error:
            return messages.failure(request, 400, "INVALID_ARGUMENT", f"the path names no process id: {error}")
        name = "/".join((namespace, node, local_id))
        if entry is None:
            return messages.failure(request, 404, "NOT_FOUND", f"no living member is registered as {name}")
        made = card_of(entry, kind, site.publisher)
        if isinstance(made, NoCard):
            return messages.failure(request, 404, "NOT_FOUND", f"{name} has no {kind} card: {made.reason}")
        # A2A serves its card as plain JSON; MCP asks for the card's own type.
        media_type = messages.JSON if kind == "a2a" else MEDIA_TYPES[kind]
        return messages.answer(request, messages.encode(made), media_type, etag(entry))

    return card


def _catalog(registry: AnyRegistry, request: Request, site: Site) -> Response:
    return _document(request, ai_catalog.catalog(registry, site), ai_catalog.MEDIA_TYPE)


def _manifest(registry: AnyRegistry, request: Request, site: Site) -> Response:
    return _document(request, ard.manifest(registry, site), messages.JSON)


def _document(request: Request, document: object, media_type: str) -> Response:
    body = messages.encode(document)
    return messages.answer(request, body, media_type, messages.digest_tag(body))


def _list(registry: AnyRegistry, request: Request, site: Site) -> Response:
    given = parse_qs(request.query, keep_blank_values=True)
    unknown = given.keys() - {"pageSize", "pageToken"}
    if unknown:
        raise InvalidQuery(f"{', '.join(sorted(unknown))}: not supported; there are pageSize and pageToken")
    size = given.get("pageSize", [str(2 * PAGE_SIZE)])[0]
    if not (size.isascii() and size.isdigit()):
        raise InvalidQuery(f"pageSize {size!r}: give a whole number")
    wanted = page(int(size), given.get("pageToken", [""])[0])
    return messages.plain(request, listed(ard.entries(registry, site), wanted))


def _entry(registry: AnyRegistry, request: Request, site: Site) -> Response:
    encoded = request.path.removeprefix("/agents/")
    try:
        wanted = unquote(encoded, errors="strict")
    except UnicodeDecodeError:
        wanted = ""
    if not is_identifier(wanted):
        raise InvalidQuery(f"{encoded!r} is no identifier of the form urn:air:PUBLISHER:NAME:KIND, percent-encoded")
    found = ard.find_entry(registry, wanted, site)
    if found is None:
        return messages.failure(request, 404, "NOT_FOUND", f"{wanted} is not here, or its process has died")
    return _document(request, found, messages.JSON)


def _search(registry: AnyRegistry, request: Request, site: Site) -> Response:
    if len(request.body) > MAX_BODY_BYTES:
        return messages.failure(request, 413, "INVALID_ARGUMENT", f"a search has at most {MAX_BODY_BYTES} bytes")
    found = search(ard.entries(registry, site), request.body, site.base_url + "/")
    return messages.plain(request, found)


def _explore(_registry: AnyRegistry, request: Request, _site: Site) -> Response:
    return messages.failure(request, 501, "NOT_IMPLEMENTED", "this registry has search, and no explore")


_READ = ("GET", "HEAD")
_FIXED: dict[str, tuple[tuple[str, ...], _Handler]] = {
    "/.well-known/ai-catalog.json": (_READ, _catalog),
    "/.well-known/ard.json": (_READ, _manifest),
    "/agents": (_READ, _list),
    "/search": (("POST",), _search),
    "/explore": (("POST",), _explore),
}
