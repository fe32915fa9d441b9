"""The list of members: filter, chips with counts, rows that change in place."""

from __future__ import annotations

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from ...errors import InvalidQuery
from ...model import HealthStatus
from ...views.order import most_common
from ..facets import Facets, select
from ..html import rows_below
from ..member_list import MembersTopic
from ..pictures import stacked_bar
from ..selection import ORDERS, Selection, parse_selection
from ..site import WebSite, base_of, site_of

COLUMNS = (
    ("id", "Member", ""),
    ("health", "Health", ""),
    ("", "Doing", "doing"),
    ("", "Can", "can"),
    ("", "Load", "load"),
    ("pid", "Pid", "number"),
    ("up", "Up", "number"),
)
MAX_CHIPS = 10
LATEST = 3


async def members_page(request: Request) -> Response:
    """The page."""
    site, base = site_of(request), base_of(request)
    try:
        selection, problem = parse_selection(request.query_params), ""
    except InvalidQuery as error:
        return site.page(
            request, "members.html", 400, active="members", problem=str(error), q=request.query_params.get("q", "")
        )
    # Before the members are read, so that the stream begins with what may be missing here.
    revision = site.broadcaster.catch_up()
    facets = select(site.broadcaster.living(), selection)
    rows = rows_below(base)
    return site.page(
        request,
        "members.html",
        active="members",
        problem=problem,
        q=selection.q,
        selection=selection,
        columns=COLUMNS,
        orders=ORDERS,
        rows=[rows.row(entry) for entry in facets.shown],
        live=("members", selection.query(), revision),
        **_context(site, facets, selection),
    )


def members_topic(site: WebSite, base: str, query: QueryParams) -> tuple[object, MembersTopic]:
    """The topic of a list."""
    selection = parse_selection(query)
    broadcaster = site.broadcaster
    key = ("members", base, selection)

    def parts(facets: Facets) -> dict[str, str]:
        context = _context(site, facets, selection)
        return {
            name: site.render(base, f"{name}.html", selection=selection, **context) for name in ("figures", "facets")
        }

    def make() -> MembersTopic:
        revision = broadcaster.catch_up()
        return MembersTopic(revision, selection, broadcaster.living, rows_below(base), parts)

    return key, broadcaster.topic(key, make)


def _context(site: WebSite, facets: Facets, selection: Selection) -> dict[str, object]:
    """What the parts show beside the rows."""
    mirror = site.broadcaster.mirror
    health = [(status.value, facets.health[status]) for status in HealthStatus]
    says = ", ".join(f"{number} {status}" for status, number in health)
    # A chip that is chosen stays, also where no member is left.
    chosen = selection.capabilities
    common = [name for name, _ in most_common(facets.capabilities, MAX_CHIPS + len(chosen)) if name not in chosen]
    return {
        "facets": facets,
        "health": health,
        "health_bar": stacked_bar(health, says) if any(number for _, number in health) else "",
        "capabilities": [(name, facets.capabilities[name]) for name in [*chosen, *common[:MAX_CHIPS]]],
        "more_capabilities": max(0, len(facets.capabilities) - len(common[:MAX_CHIPS]) - len(chosen)),
        "rates": mirror.rates(),
        "stats": mirror.stats,
        "latest": site.latest_departures(LATEST),
    }
