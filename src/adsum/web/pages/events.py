"""The list of events: every change, the newest first, live. ``?since=REVISION`` shows those after it."""

from __future__ import annotations

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from ...model import Kind, Revision
from ...views.recent import Changes, changes_since, newest_changes
from ..change_rows import EventFilter, EventRows, EventsTopic
from ..site import WebSite, base_of, site_of

SHOWN = 200
# The kinds of events that every registry has; others have a chip where there are such events.
KINDS = (Kind.registered, Kind.updated, Kind.unregistered, Kind.died)


async def events_page(request: Request) -> Response:
    """The page."""
    site, query = site_of(request), request.query_params
    kind, q, since = query.get("kind", ""), query.get("q", ""), _revision(query.get("since", ""))
    revision = site.broadcaster.catch_up()
    changes = _read(site, since)
    shown = EventFilter(kind, q, site.settings.scope.covers)
    found = [step for step in changes.steps or () if shown.matches(step)]
    newest = found[-SHOWN:]
    rows = EventRows(site.registry, base_of(request))
    return site.page(
        request,
        "events.html",
        active="events",
        q=q,
        kind=kind,
        kinds=[*KINDS, *sorted({step.kind for step in changes.steps or ()} - {*KINDS})],
        since=since,
        is_lagged=changes.steps is None,
        newest=int(changes.revision),
        left_out=len(found) - len(newest),
        rows=[(f"e{step.revision}", rows.row(step, changes.revision.epoch)[0]) for step in reversed(newest)],
        live=("events", f"?{query}" if query else "", revision),
    )


def _revision(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _read(site: WebSite, since: int | None) -> Changes:
    if since is None:
        return newest_changes(site.registry)
    return changes_since(site.registry, Revision(since))


def events_topic(site: WebSite, base: str, query: QueryParams) -> tuple[object, EventsTopic]:
    """The topic of a list."""
    kind, q = query.get("kind", ""), query.get("q", "")

    def make() -> EventsTopic:
        revision = site.broadcaster.catch_up()
        return EventsTopic(revision, EventFilter(kind, q, site.settings.scope.covers), EventRows(site.registry, base))

    key = ("events", base, kind, q)
    return key, site.broadcaster.topic(key, make)
