"""What pages can change, where it is allowed: set a health status, and unregister.

Each acts on one incarnation: a later holder of the id, registered while the page was open, is never touched.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ..errors import AdsumError, InvalidMetadata, NotRegistered, OtherHost, Stale
from ..model import HealthStatus, ProcessId
from .api import id_of
from .paths import member_path
from .site import WebSite, base_of, site_of

MAX_BODY = 4096


async def set_health(request: Request) -> Response:
    """Set the health status of a member."""

    def change(site: WebSite, process_id: ProcessId, incarnation: int, form: dict[str, str]) -> None:
        status = form.get("status", "")
        if status not in set(HealthStatus):
            raise InvalidMetadata(f"status={status!r}: give one of {', '.join(HealthStatus)}")
        site.registry.update_health(process_id, HealthStatus(status), if_incarnation=incarnation)

    return await _act(request, change)


async def unregister(request: Request) -> Response:
    """Remove an entry. Its process goes on."""

    def change(site: WebSite, process_id: ProcessId, incarnation: int, _: dict[str, str]) -> None:
        site.registry.unregister(process_id, if_incarnation=incarnation)

    return await _act(request, change)


async def _act(request: Request, change: Callable[[WebSite, ProcessId, int, dict[str, str]], None]) -> Response:
    site, process_id = site_of(request), id_of(request)
    if not site.settings.allow_writes:
        return PlainTextResponse("this server shows, and changes nothing; start it with --allow-writes\n", 403)
    form = await _form(request)
    incarnation = form.get("incarnation", "")
    if not incarnation.isascii() or not incarnation.isdigit() or len(incarnation) > 19:
        return PlainTextResponse("give the incarnation that is meant: incarnation=NUMBER\n", 400)
    problem, status = "", 303
    if not site.settings.scope.covers(process_id):
        problem, status = f"{process_id} is not shown here", 404
    else:
        try:
            # It speaks to the registrar, which may take a moment to start.
            await run_in_threadpool(change, site, process_id, int(incarnation), form)
        except AdsumError as error:
            problem, status = str(error), _status_of(error)
    return _answer(request, process_id, problem, status)


def _status_of(error: AdsumError) -> int:
    if isinstance(error, (OtherHost, Stale)):
        return 409
    if isinstance(error, NotRegistered):
        return 404
    return 400 if isinstance(error, ValueError) else 503


def _answer(request: Request, process_id: ProcessId, problem: str, status: int) -> Response:
    """Back to the member's page for a browser, with what went wrong; else the status alone."""
    if problem and "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse(f"{problem}\n", status)
    query = f"?problem={quote(problem, safe='')}" if problem else ""
    return Response(
        status_code=303, headers={"Location": f"{base_of(request)}/members/{member_path(process_id)}{query}"}
    )


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form. Starlette's own parser needs one more package."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            return {}
    found = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=20)
    return {name: values[-1] for name, values in found.items()}
