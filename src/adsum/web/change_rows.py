"""The topics of lists that grow at the top: events, and departures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from .. import Registry
from ..model import Departure, Entry, Kind, ProcessId, Revision
from ..views.description import Departures, EventReport
from ..views.recent import Step, event_of
from ..views.search_words import has_words
from .html import environment
from .topics import message

BATCH_SECONDS = 0.05
# The exit of a process becomes known when its parent has reaped it: so long a death without one is looked at again.
EXIT_SECONDS = 5.0
# So many rows a message has at most. A page keeps no more either.
MAX_ROWS = 200


class EventFilter:
    """Which events a list shows."""

    def __init__(self, kind: str, q: str, covers: Callable[[ProcessId], bool]) -> None:
        self.kind = kind
        self.q = q
        self._words = q.lower().split()
        self._covers = covers

    def matches(self, step: Step) -> bool:
        if step.host:
            return self.kind in ("", step.kind) and all(word in step.host.lower() for word in self._words)
        entry = step.after or step.before
        if entry is None or not self._covers(entry.process_id):
            return False
        return self.kind in ("", step.kind) and has_words(entry, self._words)


class EventRows:
    """Renders events as rows."""

    def __init__(self, registry: Registry, base: str) -> None:
        # A request must not wait for an exit: the page is given it later.
        self._departures = Departures(registry, exit_seconds=0)
        self._template = environment().get_template("event_row.html")
        self._base = base

    def forget(self) -> None:
        """Look again for exits."""
        self._departures.forget()

    def row(self, step: Step, epoch: int) -> tuple[str, bool]:
        """The row of a change, and whether all is known about it."""
        report = EventReport(event_of(step, epoch), self._departures)
        is_whole = step.kind is not Kind.died or report.event.exit is not None
        return self._template.render(report=report, event=report.event, base=self._base), is_whole

    def rows(self, steps: Sequence[Step], epoch: int) -> list[str]:
        """The rows of changes, the newest first."""
        return [self.row(step, epoch)[0] for step in reversed(steps)]


class EventsTopic:
    """A list of events, the newest first."""

    def __init__(self, revision: Revision, shown: EventFilter, rows: EventRows) -> None:
        self.sent = self._noted = revision
        self._filter = shown
        self._rows = rows
        self._pending: list[Step] = []
        # Deaths whose exit is not known yet, with the time until which it is asked for.
        self._without_exit: list[tuple[Step, float]] = []
        self._taken_at = 0.0

    def note(self, steps: Iterable[Step], revision: Revision) -> None:
        self._pending += filter(self._filter.matches, steps)
        del self._pending[:-MAX_ROWS]
        self._noted = revision
        if not self._pending:
            self.sent = revision

    def sweep(self, living: dict[ProcessId, Entry], gone: set[ProcessId]) -> None:
        now = time.monotonic()
        if again := [step for step, until in self._without_exit if until > now]:
            self._rows.forget()
            self._pending = again + self._pending

    def take(self, now: float) -> bytes | None:
        if not self._pending or now - self._taken_at < BATCH_SECONDS:
            return None
        self._taken_at, self.sent = now, self._noted
        pending, self._pending = self._pending, []
        return self._message(pending, now)

    def missed(self, steps: Iterable[Step]) -> bytes | None:
        """The message of changes that one page has missed, while others have them."""
        found = [step for step in steps if self._filter.matches(step)][-MAX_ROWS:]
        return self._message(found, time.monotonic()) if found else None

    def _message(self, steps: list[Step], now: float) -> bytes | None:
        known = {step.revision: until for step, until in self._without_exit if until > now}
        rows = []
        for step in steps:
            html, is_whole = self._rows.row(step, self._noted.epoch)
            if is_whole:
                known.pop(step.revision, None)
            elif step.revision not in known:
                known[step.revision] = now + EXIT_SECONDS
            else:
                # It has been sent, and nothing more is known.
                continue
            rows.append((f"e{step.revision}", html))
        by_revision = {step.revision: step for step in [*(one for one, _ in self._without_exit), *steps]}
        self._without_exit = [(by_revision[revision], until) for revision, until in known.items()]
        return message(prepend=rows) if rows else None


class DepartureRows:
    """Renders departures as rows."""

    def __init__(self, base: str) -> None:
        self._template = environment().get_template("departure_row.html")
        self._base = base

    def row(self, departure: Departure) -> str:
        return self._template.render(departure=departure, entry=departure.entry, base=self._base)


class DeparturesTopic:
    """A list of departures, the newest first. `read` gives those that match, at most so many of all."""

    def __init__(self, revision: Revision, read: Callable[[int | None], list[Departure]], rows: DepartureRows) -> None:
        self.sent = self._noted = revision
        self._read = read
        self._rows = rows
        self._given = {departure_key(one): one.exit for one in read(None)}
        self._ended_at = 0.0
        self._is_stale = False
        self._taken_at = 0.0

    def note(self, steps: Iterable[Step], revision: Revision) -> None:
        self._noted = revision
        for step in steps:
            # An entry ended, also where it was handed over.
            if step.before is not None and (step.after is None or step.after.incarnation != step.before.incarnation):
                self._is_stale, self._ended_at = True, time.monotonic()
        if not self._is_stale:
            self.sent = revision

    def sweep(self, living: dict[ProcessId, Entry], gone: set[ProcessId]) -> None:
        if time.monotonic() - self._ended_at < EXIT_SECONDS:
            self._is_stale = True

    def take(self, now: float) -> bytes | None:
        if not self._is_stale or now - self._taken_at < BATCH_SECONDS:
            return None
        self._is_stale, self._taken_at, self.sent = False, now, self._noted
        new = self._new(MAX_ROWS // 4)
        if len(new) >= MAX_ROWS // 4:
            new = self._new(None)[:MAX_ROWS]
        self._given |= {departure_key(one): one.exit for one in new}
        return self.rendered(new)

    def _new(self, limit: int | None) -> list[Departure]:
        found = [(departure_key(one), one) for one in self._read(limit)]
        return [one for key, one in found if key not in self._given or self._given[key] != one.exit]

    def rendered(self, departures: Sequence[Departure]) -> bytes | None:
        """The message with these departures, given newest first."""
        rows = [(departure_key(one), self._rows.row(one)) for one in reversed(departures)]
        return message(prepend=rows) if rows else None

    def missed(self, steps: Iterable[Step]) -> bytes | None:
        """The newest ones again, for a page that may have missed some."""
        return self.rendered(self._read(MAX_ROWS)) if any(step.before is not None for step in steps) else None


def departure_key(departure: Departure) -> str:
    """The name of the row of a departure. An incarnation ends once."""
    return f"d{departure.entry.incarnation}"
