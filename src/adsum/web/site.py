"""What every request handler of one application has: its settings, and how it answers with a page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse

from ..admin import page_header
from ..errors import AdsumError, InvalidProcessId
from ..model import Departure, Entry, ProcessId
from .broadcast import Broadcaster
from .documents import EntryDocuments
from .html import environment
from .settings import Settings

# The name, path and label of each.
PAGES = (
    ("members", "/", "Members"),
    ("departures", "/departures", "Departures"),
    ("events", "/events", "Events"),
    ("team", "/team", "Team"),
    ("registry", "/registry", "Registry"),
)
# Where there is a cluster.
HOSTS = ("hosts", "/hosts", "Hosts")


class WebSite:
    """One application."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.registry = settings.registry
        self.broadcaster: Broadcaster = settings.broadcaster
        self.documents = EntryDocuments()

    def lookup(self, process_id: ProcessId) -> Entry | None:
        """The living member with this id, if it is in the scope."""
        if not self.settings.scope.covers(process_id):
            return None
        try:
            return self.registry.lookup(process_id)
        except InvalidProcessId:
            # No member can have it.
            return None

    def departures(self, limit: int | None = None) -> list[Departure]:
        """The departures in the scope, newest first."""
        scope = self.settings.scope
        found = self.registry.departures(limit)
        return found if scope == (None, None) else [one for one in found if scope.covers(one.entry.process_id)]

    def latest_departures(self, number: int) -> list[Departure]:
        """The newest departures in the scope. The registry keeps those of all namespaces in one list."""
        return self.departures(number if self.settings.scope == (None, None) else None)[:number]

    def _is_absent(self) -> bool:
        """Whether there is no registry, which is not an empty one."""
        try:
            return page_header(self.registry.folder) is None
        except AdsumError:
            # The page says itself why the registry cannot be read.
            return False

    def _pages(self) -> tuple[tuple[str, str, str], ...]:
        try:
            return (*PAGES, HOSTS) if self.registry.hosts() else PAGES
        except AdsumError:
            # The page says itself why the registry cannot be read.
            return PAGES

    def page(self, request: Request, template: str, status: int = 200, /, **context: object) -> HTMLResponse:
        """Answer with a page."""
        return HTMLResponse(self.render(base_of(request), template, **context), status)

    def render(self, base: str, template: str, **context: object) -> str:
        """A template with what all of them use."""
        settings = self.settings
        common = {
            "base": base,
            "now": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "pages": self._pages(),
            "folder": str(self.registry.folder),
            "no_registry": self._is_absent(),
            "name": self.registry.folder.name,
            "scope": settings.scope,
            "allow_writes": settings.allow_writes,
            "has_token": settings.token is not None,
        }
        return environment().get_template(template).render({**common, **context})


def site_of(request: Request) -> WebSite:
    """The application that a request came to."""
    return cast("WebSite", request.app.state.site)


def base_of(request: Request) -> str:
    """The path below which the application is mounted, without a slash at its end."""
    return quote(str(request.scope.get("root_path", "")).rstrip("/"))
