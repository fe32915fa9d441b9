"""The lines of the log about what happened to members, deaths and refusals, and about clients that were dropped.

A client that asks in a loop must not fill the log, nor cost the registrar more than the answer. So there are at most
`LINES_PER_SECOND` lines about members, and `CLIENT_LINES_PER_MINUTE` about clients; the next one says how many are
missing.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import _wire as wire
from .._engine.batch import Call, Decision
from .._os.log import Log
from .._store.layout import DEATHS
from ..model import Departure, Owner
from .ports import Clock

LINES_PER_SECOND = 20
# A client that sends the same bytes again and again would push all other lines out of the log, even at one a second.
CLIENT_LINES_PER_MINUTE = 10
_SUBJECT_CHARACTERS = 200


class BoundedLines:
    """Writes at most `most` lines in each interval of so many `seconds`."""

    def __init__(self, log: Log, clock: Clock, most: int, seconds: int) -> None:
        self._log = log
        self._clock = clock
        self._most = most
        self._nanoseconds = seconds * 1_000_000_000
        self._interval = 0
        self._lines = 0
        self._missing = 0

    def write(self, message: str, *arguments: object) -> None:
        interval = self._clock.monotonic_ns() // self._nanoseconds
        if interval != self._interval:
            if self._missing:
                self._log.info("%d more lines like these", self._missing)
            self._interval, self._lines, self._missing = interval, 0, 0
        if self._lines >= self._most:
            self._missing += 1
            return
        self._lines += 1
        self._log.info(message, *arguments)


def client_lines(log: Log, clock: Clock) -> BoundedLines:
    """For the lines about clients."""
    return BoundedLines(log, clock, CLIENT_LINES_PER_MINUTE, 60)


class LogLines:
    """Writes the lines of one registrar about members."""

    def __init__(self, log: Log, clock: Clock) -> None:
        self._write = BoundedLines(log, clock, LINES_PER_SECOND, 1).write

    def follow(self, calls: Sequence[Call], decision: Decision) -> None:
        """Note what a committed decision did to members and callers."""
        if decision.departures:
            self._note_deaths(
                [
                    departure
                    for _, departure in decision.departures
                    if departure.how in DEATHS and departure.entry.origin is None
                ]
            )
        for refusal in decision.refusals:
            self._write("%s", quoted(refusal))
        for call, reply in zip(calls, decision.replies, strict=True):
            if isinstance(reply, wire.Failed):
                self._write("refused: %s, %s", reply.reason, subject(call))

    def refused(self, calls: Sequence[Call], reason: str) -> None:
        """Note calls that could not be carried out, all for one reason."""
        if calls:
            self._write("refused: %s, %d requests, the first: %s", reason, len(calls), subject(calls[0]))

    def _note_deaths(self, deaths: list[Departure]) -> None:
        of: dict[Owner, list[Departure]] = {}
        for departure in deaths:
            of.setdefault(departure.entry.owner, []).append(departure)
        for owner, departures in of.items():
            first = quoted(str(departures[0].entry.process_id))
            more = f" and {len(departures) - 1} more" if len(departures) > 1 else ""
            self._write("process %d died: %s%s", owner.pid, first, more)


def subject(call: Call) -> str:
    """A request in words: its kind, its ids, and its caller."""
    request = call.request
    match request:
        case wire.Register() | wire.UpdateMany() | wire.UnregisterMany():
            ids = [process_id for process_id, _ in request.items]
        case wire.Cancel() | wire.Listen() | wire.ExitOf() | wire.Release() | wire.ApplyRemote() | wire.NameAnswer():
            ids = []
        case wire.Claim():
            ids = [] if request.process_id is None else [request.process_id]
        case _:
            ids = [request.process_id]
    by = f" by process {call.caller.pid}" if call.caller is not None else ""
    return f"{request.__struct_config__.tag} {quoted(', '.join(map(str, ids[:8])))}{by}"


def quoted(text: str) -> str:
    """A text of clients, such as ids, on one line: it may contain line breaks."""
    return repr(text)[1:-1][:_SUBJECT_CHARACTERS]
