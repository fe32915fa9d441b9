"""HTTP as values: a request, a response, and what is the same in all responses.

No server and no event loop is known here. A server passes the parts of a request, and sends the parts of the response.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

JSON = "application/json"
# A card is as true as its registry: a cache asks before it shows one, which costs a few bytes where nothing changed.
_CACHING = "no-cache"
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, POST",
    "Access-Control-Allow-Headers": "Content-Type, If-None-Match",
    "Access-Control-Expose-Headers": "ETag",
}


class Request(msgspec.Struct, frozen=True):
    """An HTTP request.

    - `path`: relative to where the cards are mounted, begins with a slash. It may be percent-encoded or decoded: ids
      are written so that both mean the same.
    - `query`: what follows the question mark. `headers`: by any spelling of their names.
    - `base_url`: the URL under which the client reached the cards; what a site without one uses. A server
      that takes it from the Host header has to check that header.

    >>> request = adsum.cards.Request("GET", "/.well-known/ai-catalog.json")
    >>> adsum.cards.respond(registry, request).status
    200
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = {}
    body: bytes = b""
    base_url: str = ""

    def header(self, name: str) -> str:
        """The value of a header; empty where there is none.

        >>> adsum.cards.Request("GET", "/", headers={"Accept": "application/json"}).header("accept")
        'application/json'
        """
        name = name.lower()
        return next((value for key, value in self.headers.items() if key.lower() == name), "")


class Response(msgspec.Struct, frozen=True):
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes = b""


class ErrorBody(msgspec.Struct, frozen=True, rename="camel"):
    """The body of an error, as ARD has it: a word for programs, and a sentence."""

    error_code: str
    message: str


def encode(document: object) -> bytes:
    """The JSON of a card or a catalogue.

    >>> adsum.cards.encode({"name": "planner-1"})
    b'{"name":"planner-1"}'
    """
    return msgspec.json.encode(document)


def digest_tag(body: bytes) -> str:
    """A strong entity tag of a body."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def answer(request: Request, body: bytes, media_type: str, tag: str) -> Response:
    """A document; 304 without it where the client has the one with this tag (RFC 9110, If-None-Match)."""
    headers = {"ETag": tag, "Cache-Control": _CACHING}
    if _matches(request.header("If-None-Match"), tag):
        return Response(304, headers)
    headers |= {"Content-Type": media_type, "Content-Length": str(len(body)), "X-Content-Type-Options": "nosniff"}
    return Response(200, headers, b"" if request.method == "HEAD" else body)


def plain(request: Request, document: object) -> Response:
    """A document that no cache keeps."""
    body = encode(document)
    headers = {"Content-Type": JSON, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
    return Response(200, headers, b"" if request.method == "HEAD" else body)


def failure(request: Request, status: int, code: str, message: str, **headers: str) -> Response:
    """An error, with its word and what to do."""
    body = encode(ErrorBody(code, message))
    sent = {"Content-Type": JSON, "Content-Length": str(len(body)), "Cache-Control": "no-store", **headers}
    return Response(status, sent, b"" if request.method == "HEAD" else body)


def for_any_origin(response: Response) -> Response:
    """The response as pages of other sites may read it in a browser (CORS)."""
    return msgspec.structs.replace(response, headers={**response.headers, **_CORS})


def _matches(wanted: str, tag: str) -> bool:
    given = {one.strip().removeprefix("W/") for one in wanted.split(",")}
    return "*" in given or tag in given
