"""The JSON API: members, departures, and events as a stream. docs/openapi.json describes it."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..errors import AdsumError, InvalidQuery, NotRegistered
from ..model import Departure, ProcessId
from ..views.documents import departure_document, entry_document
from ..views.search_words import has_words
from .documents import DeparturesDocument, EncodedMembers, ErrorDocument
from .paths import unescaped
from .selection import FILTERS, parse_limit, parse_selection, require_known
from .site import site_of

# The words of `Departure.how`: of members of this registry, and of members of other hosts.
HOWS_HERE = ("died", "unregistered", "replaced", "handed_over", "owner_died")
HOWS = (*HOWS_HERE, "name_lost", "left", "unreachable_forgotten", "unknown")

MEMBERS_PARAMETERS = (*FILTERS, "sort", "limit")
DEPARTURES_PARAMETERS = ("q", "how", "namespace", "limit")


def json_response(document: object, status: int = 200) -> Response:
    """An answer with one document."""
    return Response(msgspec.json.encode(document), status, media_type="application/json")


def error_response(error: AdsumError, status: int) -> Response:
    """An answer that says what is wrong."""
    return json_response(ErrorDocument(error.reason, str(error)), status)


async def members(request: Request) -> Response:
    """The living members that match."""
    site = site_of(request)
    try:
        require_known(request.query_params, MEMBERS_PARAMETERS)
        selection = parse_selection(request.query_params)
    except InvalidQuery as error:
        return error_response(error, 400)
    # Before the members are read: then no change is in neither of both.
    revision = site.broadcaster.catch_up()
    found = [entry for entry in site.broadcaster.living() if selection.matches(entry)]
    shown = selection.sorted(found)[: selection.limit]
    documents = [site.documents.encoded(entry) for entry in shown]
    made = EncodedMembers(datetime.now(UTC), int(revision), str(revision.epoch), len(found), documents)
    return json_response(made)


async def member(request: Request) -> Response:
    """One living member."""
    site = site_of(request)
    process_id = id_of(request)
    entry = site.lookup(process_id)
    if entry is None:
        return error_response(NotRegistered(f"{process_id} is not registered (or its process has died)"), 404)
    return json_response(entry_document(entry))


def id_of(request: Request) -> ProcessId:
    """The id in the path of a request."""
    path = request.path_params
    return ProcessId(*(unescaped(path[name]) for name in ("namespace", "node", "local_id")))


async def departures(request: Request) -> Response:
    """How the last entries ended."""
    site = site_of(request)
    query = request.query_params
    try:
        require_known(query, DEPARTURES_PARAMETERS)
        limit, how = parse_limit(query), query.get("how")
        if how and how not in HOWS:
            raise InvalidQuery(f"how={how!r}: give one of {', '.join(HOWS)}")
    except InvalidQuery as error:
        return error_response(error, 400)
    found = matching_departures(site.departures(), query.get("q", ""), how, query.get("namespace"))
    documents = [departure_document(one) for one in found[:limit]]
    return json_response(DeparturesDocument(datetime.now(UTC), len(found), documents))


def matching_departures(found: list[Departure], q: str, how: str | None, namespace: str | None) -> list[Departure]:
    """The departures with these words, of this kind, in this namespace."""
    words = q.lower().split()
    return [
        one
        for one in found
        if how in (None, "", one.how)
        and namespace in (None, "", one.entry.process_id.namespace)
        and has_words(one.entry, words)
    ]
