"""The registry itself: its registrar, memory, latencies, rates, versions, and the audit."""

from __future__ import annotations

import platform
import time
from collections import deque
from datetime import UTC, datetime

import msgspec
import starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from ... import __version__
from ...admin import page_header
from ...errors import AdsumError
from ...views import words
from ..pictures import bar, spark, strip
from ..site import WebSite, base_of, site_of
from ..topics import PartsTopic

MAX_RATES = 120


class RateHistory:
    """The changes per second of the last two minutes, as far as a page was open."""

    def __init__(self) -> None:
        self._rates: deque[float] = deque(maxlen=MAX_RATES)
        self._at = 0.0

    def note(self, rate: float) -> list[float]:
        """Add the present rate, and give all."""
        now = time.monotonic()
        if now - self._at > 5:
            self._rates.clear()
        if now - self._at >= 1:
            self._at = now
            self._rates.append(rate)
        return list(self._rates)


async def registry_page(request: Request) -> Response:
    """The page."""
    site = site_of(request)
    revision = site.broadcaster.catch_up()
    audit = request.app.state.audit
    return site.page(
        request,
        "registry.html",
        active="registry",
        live=("registry", "", revision),
        audit=audit,
        versions=versions(site),
        **_context(site, RateHistory()),
    )


def registry_topic(site: WebSite, base: str, _: QueryParams) -> tuple[object, PartsTopic]:
    """The topic of the figures."""
    history = RateHistory()

    def make() -> PartsTopic:
        revision = site.broadcaster.catch_up()
        return PartsTopic(revision, lambda _: {"numbers": site.render(base, "numbers.html", **_context(site, history))})

    key = ("registry", base)
    return key, site.broadcaster.topic(key, make)


def _context(site: WebSite, history: RateHistory) -> dict[str, object]:
    mirror = site.broadcaster.mirror
    stats = site.registry.stats()
    limits = site.registry.limits
    part = stats.bytes_used / max(1, stats.bytes_limit)
    detections = sorted(one.detection for one in site.registry.departures() if one.detection)
    rates = mirror.rates()
    series = history.note(sum(rates.values()))
    window = (
        words.duration(limits.cleanup_window) if limits.cleanup_window >= 1 else f"{limits.cleanup_window * 1e3:g} ms"
    )
    return {
        "stats": stats,
        "limits": limits,
        "part": part,
        "memory_bar": bar(part, f"{part:.1%} of the memory that the tables may use"),
        "detections": detections,
        "strip": strip(
            detections,
            limits.cleanup_window,
            f"How soon after its death each of {len(detections)} entries was removed, from 0.01 ms to 1 s; "
            f"the window is {window}",
        ),
        "window": window,
        "rates": rates,
        "spark": spark(series, f"changes per second over the last {len(series)} s") if len(series) > 1 else "",
        "most": max(series, default=0.0),
    }


def versions(site: WebSite) -> dict[str, str]:
    """What runs here."""
    found = {
        "adsum": __version__,
        "Python": platform.python_version(),
        "msgspec": msgspec.__version__,
        "starlette": starlette.__version__,
        "Linux": platform.release(),
    }
    try:
        header = page_header(site.registry.folder)
    except AdsumError as error:
        return {**found, "table format": str(error)}
    if header is not None:
        found["table format"] = str(header.format)
        found["boot"] = header.boot_id
    return found


class Audit(msgspec.Struct, frozen=True):
    """The result of an audit."""

    at: datetime
    seconds: float
    violations: list[str]


async def audit_part(request: Request) -> Response:
    """Run the audit, one at a time, and answer with its result. It reads all tables, and changes nothing."""
    site = site_of(request)
    async with request.app.state.audit_lock:
        began = time.monotonic()
        violations = await run_in_threadpool(site.registry.audit)
        audit = Audit(datetime.now(UTC), time.monotonic() - began, violations)
    request.app.state.audit = audit
    if request.headers.get("hx-request") == "true":
        return site.page(request, "audit.html", audit=audit)
    return Response(status_code=303, headers={"Location": f"{base_of(request)}/registry#audit"})
