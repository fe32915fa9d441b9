"""The list of departures: what ended, when, and why."""

from __future__ import annotations

from collections import Counter

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from ...errors import InvalidQuery
from ...model import Departure
from ..api import HOWS, HOWS_HERE, matching_departures
from ..change_rows import DepartureRows, DeparturesTopic, departure_key
from ..selection import parse_limit
from ..site import WebSite, base_of, site_of

SHOWN = 200


async def departures_page(request: Request) -> Response:
    """The page."""
    site, base, query = site_of(request), base_of(request), request.query_params
    try:
        limit = parse_limit(query, SHOWN)
    except InvalidQuery:
        limit = SHOWN
    q, how = query.get("q", ""), query.get("how", "")
    revision = site.broadcaster.catch_up()
    found = matching_departures(site.departures(), q, "", None)
    shown = [one for one in found if how in ("", one.how)]
    rows = DepartureRows(base)
    counts = Counter(one.how for one in found)
    return site.page(
        request,
        "departures.html",
        active="departures",
        q=q,
        how=how,
        counts=counts,
        hows=[one for one in HOWS if one in HOWS_HERE or one == how or counts[one]],
        total=len(shown),
        limit=limit,
        rows=[(departure_key(one), rows.row(one)) for one in shown[:limit]],
        live=("departures", f"?{query}" if query else "", revision),
    )


def departures_topic(site: WebSite, base: str, query: QueryParams) -> tuple[object, DeparturesTopic]:
    """The topic of a list."""
    q, how = query.get("q", ""), query.get("how", "")

    def read(limit: int | None) -> list[Departure]:
        return matching_departures(site.departures(limit), q, how, None)

    def make() -> DeparturesTopic:
        revision = site.broadcaster.catch_up()
        return DeparturesTopic(revision, read, DepartureRows(base))

    key = ("departures", base, q, how)
    return key, site.broadcaster.topic(key, make)
