"""Server-sent events: the stream of a browser, with the topics of its pages, and the events of the JSON API.

Both resume: a client that connects again sends the id of the last message as ``Last-Event-ID``, and is given what it
missed, from the registry's history. Where that does not reach back, a message says so. An id is a position,
``EPOCH.REVISION``: a registry that was made anew counts from the beginning, and has another epoch.

The format is that of the HTML standard, section 9.2.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ..errors import InvalidQuery
from ..model import Entry, Kind, ProcessId, Revision
from ..views.description import Departures, EventReport
from ..views.recent import Step, changes_since, event_of, lagged
from .api import error_response
from .broadcast import Subscription, Topic, framed, position_text
from .pages.departures import departures_topic
from .pages.events import events_topic
from .pages.hosts import hosts_topic
from .pages.member import member_topic
from .pages.members import members_topic
from .pages.registry import registry_topic
from .pages.team import team_topic
from .selection import FILTERS, Selection, parse_selection, require_known
from .site import WebSite, base_of, site_of

# A comment keeps proxies from closing a stream in which nothing happens, and shows the server a client that is gone.
EVENTS_PARAMETERS = (*FILTERS, "since", "epoch")
KEEP_ALIVE_SECONDS = 15.0
KEEP_ALIVE = b": still here\n\n"
# After this many milliseconds a browser connects again.
RETRY = b"retry: 1000\n\n"
RELOAD = b"event: reload\ndata: {}\n\n"
# How uvicorn cancels the tasks of open requests when its patience has ended (uvicorn/server.py, since 0.24).
_SERVER_ENDS = "Task cancelled, timeout graceful shutdown exceeded"
# How many topics one browser may follow at a time.
MAX_TOPICS = 64
# So many events are encoded before others have their turn.
_CHUNK = 100

Make = Callable[[WebSite, str, QueryParams], tuple[Hashable, Topic]]
TOPICS: dict[str, Make] = {
    "members": members_topic,
    "departures": departures_topic,
    "events": events_topic,
    "member": member_topic,
    "team": team_topic,
    "registry": registry_topic,
    "hosts": hosts_topic,
}
_POSITION = re.compile(r"(?P<epoch>[0-9]{1,20})\.(?P<revision>[0-9]{1,19})")


class EventStream(StreamingResponse):
    """An answer that goes on until its client goes, or its server ends."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if _SERVER_ENDS not in error.args or task is None:
                raise
            # uvicorn cancels what is still open at its end, and logs a traceback of what comes out of here. A stream
            # has no other end. Every other cancellation goes on to its sender.
            task.uncancel()
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def stream_response(messages: AsyncIterator[bytes]) -> EventStream:
    """An answer that goes on. `no` keeps nginx from collecting it."""
    return EventStream(
        messages,
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def live(request: Request) -> Response:
    """The stream of a browser: ``?topic=members?health=degraded&topic=events&since=EPOCH.REVISION``. The messages of
    the first topic have the name t0, and so on."""
    site, base = site_of(request), base_of(request)
    wanted = request.query_params.getlist("topic")
    if not 0 < len(wanted) <= MAX_TOPICS:
        return error_response(InvalidQuery(f"{len(wanted)} topics: ask for 1 to {MAX_TOPICS}"), 400)
    topics: dict[str, tuple[Hashable, Topic]] = {}
    for number, text in enumerate(wanted):
        name, _, query = text.partition("?")
        if name not in TOPICS:
            return error_response(InvalidQuery(f"topic={name!r}: ask for one of {', '.join(TOPICS)}"), 400)
        try:
            topics[f"t{number}"] = TOPICS[name](site, base, QueryParams(query))
        except InvalidQuery as error:
            return error_response(error, 400)
    since = _parse_position(request.headers.get("last-event-id") or request.query_params.get("since", ""))
    return stream_response(_live_messages(site, topics, since))


def _parse_position(text: str) -> Revision | None:
    found = _POSITION.fullmatch(text)
    if found is None or int(found["epoch"]) >= 2**64:
        return None
    return Revision(int(found["revision"]), int(found["epoch"]))


async def _live_messages(
    site: WebSite, topics: dict[str, tuple[Hashable, Topic]], since: Revision | None
) -> AsyncIterator[bytes]:
    subscription = site.broadcaster.subscribe(topics)
    try:
        yield RETRY + b"".join(_missed(site, subscription, since))
        while (messages := await subscription.wait(KEEP_ALIVE_SECONDS)) is not None:
            if subscription.is_lagging:
                yield RELOAD
                return
            yield b"".join(messages) or KEEP_ALIVE
    finally:
        site.broadcaster.unsubscribe(subscription)


def _missed(site: WebSite, subscription: Subscription, since: Revision | None) -> Iterator[bytes]:
    """What the browser has not seen of its topics since it has read its pages."""
    if since is None:
        return
    position, steps = changes_since(site.registry, since)
    if steps is None:
        subscription.lag()
        return
    scope = site.settings.scope
    steps = [
        step for step in steps if step.host or ((entry := step.after or step.before) and scope.covers(entry.process_id))
    ]
    for name, topic in subscription.topics.items():
        if (message := topic.missed(steps)) is not None:
            yield framed(name, min(position, topic.sent), message)


async def events(request: Request) -> Response:
    """The events of the JSON API: changes of the members that match, after the position in ``Last-Event-ID`` or
    `since`, or from now on. Revisions of another epoch in the same folder are not taken for later ones."""
    site, query = site_of(request), request.query_params
    try:
        require_known(query, EVENTS_PARAMETERS)
        selection = parse_selection(query)
        since = _since(request.headers.get("last-event-id"), query.get("since"), query.get("epoch"))
    except InvalidQuery as error:
        return error_response(error, 400)
    return stream_response(_event_messages(site, selection, since))


def _since(last: str | None, since: str | None, epoch: str | None) -> Revision | None:
    """Where the events begin; None for now. The address of a client that connects again is that of its first
    connection, so the id of the last event comes before it, with the epoch that it has. Errors: `InvalidQuery`."""
    default = _number("epoch", epoch or "0")
    for name, text in (("Last-Event-ID", last), ("since", since)):
        if text:
            position = _parse_position(text)
            # Revision 0 is false.
            return Revision(_number(name, text), default) if position is None else position
    return None


def _number(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 20 or int(text) >= 2**64:
        raise InvalidQuery(f"{name}={text!r}: give what an event has as its id, or a list of members as its revision")
    return int(text)


async def _event_messages(site: WebSite, selection: Selection, since: Revision | None) -> AsyncIterator[bytes]:
    topic = EventStreamTopic(site, selection, site.broadcaster.catch_up())
    subscription = site.broadcaster.subscribe({"": (topic, topic)})
    try:
        yield RETRY
        if since is not None:
            for message in topic.backlog(since):
                yield message
                await asyncio.sleep(0)
        while (messages := await subscription.wait(KEEP_ALIVE_SECONDS)) is not None:
            if subscription.is_lagging:
                # It connects again, with the last event that it has.
                yield topic.lagged()
                return
            yield b"".join(messages) or KEEP_ALIVE
    finally:
        site.broadcaster.unsubscribe(subscription)


class EventStreamTopic:
    """The events of one client of the JSON API, as `adsum.Watch` gives them: an entry that starts to match is
    registered, one that stops to match is unregistered. Events of hosts are for all."""

    def __init__(self, site: WebSite, selection: Selection, revision: Revision) -> None:
        self.sent = revision
        self._site = site
        self._selection = selection
        self._departures = Departures(site.registry, exit_seconds=0)
        self._pending: list[Step] = []
        # What the backlog has given is not given again.
        self._given_to = int(revision)

    def note(self, steps: Iterable[Step], revision: Revision) -> None:
        self._pending += steps
        self.sent = revision

    def sweep(self, living: dict[ProcessId, Entry], gone: set[ProcessId]) -> None:
        """An event is a change; what is no change is none."""

    def take(self, now: float) -> bytes | None:
        steps = [step for step in self._pending if step.revision > self._given_to]
        self._pending = []
        return self._encoded(steps) or None

    def missed(self, steps: Iterable[Step]) -> bytes | None:
        return self._encoded(steps) or None

    def backlog(self, since: Revision) -> Iterator[bytes]:
        """The events after a revision, in portions."""
        position, steps = changes_since(self._site.registry, since)
        if steps is None or since > position:
            self.sent = position
            yield self.lagged()
            return
        self.sent = position
        self._given_to = max(self._given_to, int(position))
        for first in range(0, len(steps), _CHUNK):
            yield self._encoded(steps[first : first + _CHUNK])

    def lagged(self) -> bytes:
        """The event that says that changes were missed: read the members again."""
        report = EventReport(lagged(self._site.broadcaster.mirror.revision), self._departures)
        return _event_lines(report)

    def _encoded(self, steps: Iterable[Step]) -> bytes:
        reports = (EventReport(event_of(step, self.sent.epoch), self._departures) for step in self._seen(steps))
        return b"".join(map(_event_lines, reports))

    def _seen(self, steps: Iterable[Step]) -> Iterator[Step]:
        for step in steps:
            if step.host:
                yield step
                continue
            before, after = self._matches(step.before), self._matches(step.after)
            if not (before or after):
                continue
            if step.before is not None and step.after is not None and before != after:
                yield step._replace(kind=Kind.registered if after else Kind.unregistered)
            else:
                yield step

    def _matches(self, entry: Entry | None) -> bool:
        covers = self._site.settings.scope.covers
        return entry is not None and covers(entry.process_id) and self._selection.matches(entry)


def _event_lines(report: EventReport) -> bytes:
    document = report.document()
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (
        position_text(report.event.revision).encode(),
        document.kind.encode(),
        msgspec.json.encode(document),
    )
