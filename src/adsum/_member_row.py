"""Where in shared memory the heartbeat and the gauges of a member are: its row on the board.

An entry that promises heartbeats, or has gauges, has a *place*: the number of its row, and above it random bits of the
registrar that gave it, so that entries of two registries differ. A row has four words for the heartbeat (see
`adsum._heartbeat`), and then three for each gauge (see `adsum._gauges`). What a member writes there is bound to its
entry by a *key*, of the place and the incarnation: what fits no key of an entry was not written for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .model import Entry

MAX_GAUGES = 8
HEARTBEAT_WORDS = 4
# The first word of a gauge is its value; then come its check, and the second copy of the value.
GAUGE_WORDS, GAUGE_CHECK, GAUGE_COPY = 3, 1, 2
ROW_WORDS = HEARTBEAT_WORDS + GAUGE_WORDS * MAX_GAUGES
ROW_BITS = 14


def row_of(place: int) -> int:
    return place & ((1 << ROW_BITS) - 1)


def key_for(place: int, incarnation: int) -> int:
    return place ^ incarnation << ROW_BITS


def key_of(entry: Entry) -> int:
    """The key of what the member of an entry writes."""
    return entry.row_place ^ entry.incarnation << ROW_BITS


def heartbeat_at(place: int) -> int:
    """Where the heartbeat is, among the words of all rows."""
    return row_of(place) * ROW_WORDS


def gauges_at(entry: Entry) -> int:
    """Where the gauges of an entry begin, among the words of all rows."""
    return row_of(entry.row_place) * ROW_WORDS + HEARTBEAT_WORDS
