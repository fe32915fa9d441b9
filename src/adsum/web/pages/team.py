"""The team: which member can do what, what is wanted, and what of that is absent.

``?wanted=planning coding:2`` asks for a member that can plan and two that can code. Only healthy members count for what
is wanted, because callers choose among those.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from ...model import Entry, HealthStatus
from ...views.order import by_id, by_name
from ..site import WebSite, site_of
from ..topics import PartsTopic

# A wider matrix is of no use. The counts at the head of each row are of all members.
MAX_COLUMNS = 60
MAX_ROWS = 200


class Want(NamedTuple):
    """A capability that is wanted, and how many members with it."""

    capability: str
    number: int


class Line(NamedTuple):
    """A row of the matrix: a capability, how many members have it, how many of these are healthy, and how many are
    wanted; 0 where none is."""

    capability: str
    members: int
    healthy: int
    wanted: int

    @property
    def missing(self) -> int:
        """How many more healthy members are wanted."""
        return max(0, self.wanted - self.healthy)


def parse_wanted(text: str) -> list[Want]:
    """Capabilities with numbers: ``planning coding:2``. What follows the last colon counts where it is a number."""
    wants: Counter[str] = Counter()
    for word in text.replace(",", " ").split():
        name, _, number = word.rpartition(":")
        if name and number.isascii() and number.isdigit():
            wants[name] += min(int(number[:6]), 999_999)
        else:
            wants[word] += 1
    return [Want(name, number) for name, number in wants.items()]


async def team_page(request: Request) -> Response:
    """The page."""
    site = site_of(request)
    wanted = " ".join(request.query_params.getlist("wanted"))
    revision = site.broadcaster.catch_up()
    return site.page(
        request,
        "team.html",
        active="team",
        live=("team", f"?{request.query_params}" if request.query_params else "", revision),
        **_context(site, wanted),
    )


def team_topic(site: WebSite, base: str, query: QueryParams) -> tuple[object, PartsTopic]:
    """The topic of the matrix."""
    wanted = " ".join(query.getlist("wanted"))

    def make() -> PartsTopic:
        revision = site.broadcaster.catch_up()
        return PartsTopic(revision, lambda _: {"matrix": site.render(base, "matrix.html", **_context(site, wanted))})

    key = ("team", base, wanted)
    return key, site.broadcaster.topic(key, make)


def _context(site: WebSite, wanted: str) -> dict[str, object]:
    entries = sorted(site.broadcaster.living(), key=lambda entry: by_id(entry.process_id))
    wants = parse_wanted(wanted)
    lines = matrix(entries, wants)
    able = [entry for entry in entries if entry.metadata.capabilities]
    return {
        "wanted": wanted,
        "wants": wants,
        "lines": lines[:MAX_ROWS],
        "hidden_lines": max(0, len(lines) - MAX_ROWS),
        "members": _shown(able, wants),
        "able": len(able),
        "without": len(entries) - len(able),
        "absent": [line for line in lines if line.missing],
    }


def matrix(entries: list[Entry], wants: list[Want]) -> list[Line]:
    """The rows: what is missing first, then what else is wanted, then the rest by name."""
    members: Counter[str] = Counter()
    healthy: Counter[str] = Counter()
    for entry in entries:
        members.update(entry.metadata.capabilities)
        if entry.metadata.health_status is HealthStatus.healthy:
            healthy.update(entry.metadata.capabilities)
    numbers = {want.capability: want.number for want in wants}
    lines = [Line(name, members[name], healthy[name], numbers.get(name, 0)) for name in {*members, *numbers}]
    return sorted(lines, key=lambda line: (not line.missing, not line.wanted, by_name(line.capability)))


def _shown(able: list[Entry], wants: list[Want]) -> list[Entry]:
    """The members that get a column: where there are too many, first those with what is wanted."""
    wanted = {want.capability for want in wants}
    if len(able) > MAX_COLUMNS and wanted:
        able = sorted(able, key=lambda entry: not wanted & entry.metadata.capabilities)
    return able[:MAX_COLUMNS]
