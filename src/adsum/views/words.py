"""Values in words for people: health, heartbeats, ages, durations, sizes. On a terminal, in a page, in an answer."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from datetime import UTC, datetime

from ..model import Entry, HealthSource

_SOURCES = {
    HealthSource.process: "set by itself",
    HealthSource.other: "set by another process",
    HealthSource.registrar: "registrar: heartbeat late",
}


def health(entry: Entry, *, always_by: bool = False) -> str:
    """The health status, the time since it was set or confirmed, and its source unless that is the process itself:
    ``degraded 3s (registrar: heartbeat late)``. With `always_by` the source is always there.

    >>> from adsum.views import words
    >>> registration = registry.register("planner-1", health_status="degraded")
    >>> words.health(registration.entry)
    'degraded ...s'
    """
    state = f"{entry.metadata.health_status} {ago(entry.metadata.last_health_check)}"
    by_itself = entry.health_source is HealthSource.process
    if by_itself and not always_by:
        return state
    return f"{state} ({'as registered' if is_as_registered(entry) else source(entry)})"


def is_as_registered(entry: Entry) -> bool:
    """Whether the health status is the one that every member begins with, and no process has set or confirmed it.

    >>> from adsum.views import words
    >>> registration = registry.register("planner-1")
    >>> words.is_as_registered(registration.entry), words.is_as_registered(registration.update_health("degraded"))
    (True, False)
    """
    return entry.health_said_by is None


def source(entry: Entry) -> str:
    """The source of its health status.

    >>> from adsum.views import words
    >>> words.source(registry.register("planner-1").entry)
    'set by itself'
    """
    return _SOURCES[entry.health_source]


def heartbeat(entry: Entry) -> str:
    """The promised heartbeat, the age of the last one, and how late it is; empty without a promise.

    >>> from adsum.views import words
    >>> words.heartbeat(registry.register("planner-1", heartbeat=60).entry)
    'every 60 s, the last ... s ago'
    """
    interval = entry.metadata.heartbeat
    if interval is None:
        return ""
    last = seconds_since(entry.metadata.last_health_check)
    late = f", {last - interval:.1f} s late" if last > interval else ""
    return f"every {interval:g} s, the last {last:.1f} s ago{late}"


def ending(exit: int) -> str:
    """How a process ended: ``exit code 3``, ``killed by SIGKILL``.

    >>> from adsum.views import words
    >>> words.ending(3), words.ending(-9)
    ('exit code 3', 'killed by SIGKILL')
    """
    return f"exit code {exit}" if exit >= 0 else f"killed by {signal_name(-exit)}"


def signal_name(number: int) -> str:
    """The name of a signal; its number where it has none, as most real-time signals.

    >>> from adsum.views import words
    >>> words.signal_name(15)
    'SIGTERM'
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def slots(entry: Entry) -> str:
    """The slots that are claimed, and by which processes; empty without a claim and a number of slots.

    >>> from adsum.views import words
    >>> words.slots(registry.register("gpu-0", slots=2).entry)
    '0 of 2 claimed'
    """
    if entry.metadata.slots is None and not entry.claims:
        return ""
    by = ", ".join(f"{record.pid} for {ago(record.since)}" for record in entry.claims)
    return f"{len(entry.claims)} of {entry.metadata.slots or 1} claimed" + (f", by {by}" if by else "")


def first_line(text: str, most: int) -> str:
    """The first line of a text, cut where it is longer than so many characters.

    >>> from adsum.views import words
    >>> words.first_line("reads the whole report", 10)
    'reads t...'
    """
    line, *more = text.splitlines() or [""]
    return f"{line[: most - 3]}..." if more or len(line) > most else line


def owning_member(entry: Entry) -> str:
    """The member with whose process the entry ends too; empty without one.

    >>> from adsum.views import words
    >>> planner = registry.register("planner-1")
    >>> words.owning_member(registry.register("tool-1", owned_by="planner-1").entry)
    'default/here/planner-1, process ...'
    """
    owned_by = entry.owned_by
    return "" if owned_by is None else f"{owned_by.process_id}, process {owned_by.pid}"


def printable(text: str) -> str:
    """The text on one line, with control characters and others that cannot be seen escaped: text of members must not
    control a terminal, nor change the direction of the text around it.

    >>> from adsum.views import words
    >>> print(words.printable("red: \\x1b[31m"))
    red: \\x1b[31m
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def seconds_since(moment: datetime) -> float:
    """The seconds since a moment; 0 for one in the future.

    >>> from datetime import UTC, datetime
    >>> from adsum.views import words
    >>> words.seconds_since(datetime(2020, 1, 1, tzinfo=UTC)) > 1_000_000
    True
    """
    return max(0.0, (datetime.now(UTC) - moment).total_seconds())


def clock(moment: datetime) -> str:
    """The local time of day, to the millisecond, with its distance to UTC; with the date where that is not today.

    >>> from datetime import UTC, datetime
    >>> from adsum.views import words
    >>> words.clock(datetime(2020, 1, 1, tzinfo=UTC))
    '20...-... ...:00.000...'
    """
    local = moment.astimezone()
    time_of_day = f"{local:%H:%M:%S}.{local.microsecond // 1000:03}{_zone(local)}"
    return time_of_day if local.date() == datetime.now().astimezone().date() else f"{local:%Y-%m-%d} {time_of_day}"


def second(moment: datetime) -> str:
    """The local date and time, to the second, with its distance to UTC.

    >>> from datetime import UTC, datetime
    >>> from adsum.views import words
    >>> words.second(datetime(2020, 1, 1, tzinfo=UTC))
    '20...-... ...:00...'
    """
    local = moment.astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S}{_zone(local)}"


def instant(moment: datetime) -> str:
    """The local date and time in one word, to the millisecond, with its distance to UTC (ISO 8601).

    >>> from datetime import UTC, datetime
    >>> from adsum.views import words
    >>> words.instant(datetime(2020, 1, 1, tzinfo=UTC))
    '20...-...T...:00.000...'
    """
    local = moment.astimezone()
    return f"{local:%Y-%m-%dT%H:%M:%S}.{local.microsecond // 1000:03}{_zone(local)}"


def _zone(local: datetime) -> str:
    """``Z`` for UTC, else ``+02:00``."""
    return local.isoformat(timespec="minutes")[16:] if local.utcoffset() else "Z"


def ago(moment: datetime) -> str:
    """How long ago, in at most two units; a moment in the future was just now.

    >>> from datetime import UTC, datetime
    >>> from adsum.views import words
    >>> words.ago(datetime.now(UTC))
    '...s'
    """
    return duration(seconds_since(moment))


def lifetime(entry: Entry, end: datetime, *, is_exact: bool = True) -> str:
    """How long an entry lived until its end; ``<=3s`` where that is an upper bound.

    >>> from adsum.views import words
    >>> entry = registry.register("planner-1").entry
    >>> words.lifetime(entry, entry.registered_at, is_exact=False)
    '<=0s'
    """
    bound = "" if is_exact else "<="
    return f"{bound}{duration((end - entry.registered_at).total_seconds())}"


def duration(seconds: float) -> str:
    """Seconds in at most two units: ``5s``, ``3m12s``, ``2h05m``, ``4d07h``.

    >>> from adsum.views import words
    >>> words.duration(5), words.duration(192), words.duration(7500)
    ('5s', '3m12s', '2h05m')
    """
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    for unit, next_unit, size, next_size in (("m", "s", 60, 1), ("h", "m", 3600, 60)):
        if whole < size * (60 if unit == "m" else 24):
            return f"{whole // size}{unit}{whole % size // next_size:02}{next_unit}"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def size(number: int) -> str:
    """Bytes in the largest unit of which there is at least one.

    >>> from adsum.views import words
    >>> words.size(1536), words.size(100)
    ('1.5 KiB', '100 bytes')
    """
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number} bytes"


def numbers(values: Mapping[str, float]) -> str:
    """Names with numbers, as of gauges.

    >>> from adsum.views import words
    >>> words.numbers({"load": 0.25, "queue": 12.0})
    'load=0.25, queue=12'
    """
    return ", ".join(f"{name}={value:g}" for name, value in values.items())
