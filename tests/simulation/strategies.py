"""Generated input: ids that look alike, sound metadata, and metadata that has to be refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from adsum.model import Limits, Owner

from .asks import Fields, Id, Item

# The second namespace sorts between the first and its rows, the third begins like the first.
IDS: tuple[Id, ...] = (
    ("a", "n", "x"),
    ("a", "n", "y"),
    ("a", "ä", "x"),
    ("a\x01", "n", "x"),
    ("ab", "n", "x"),
)
PIDS = (1, 2, 3, 4)
TIGHT_MEMORY = Limits(max_memory_bytes=1024 * 1024)
SMALL = Limits(max_entries=6, max_capabilities=1, max_metadata_bytes=200)
LIMITS = (Limits(), Limits(), Limits(max_entries=4), Limits(max_capabilities=1, max_metadata_bytes=200))


def _nested(depth: int) -> Any:
    return [_nested(depth - 1)] if depth else "the end"


# The registrar has to refuse these; a client that checks would not send them.
FLAWED_FIELDS: tuple[Fields, ...] = (
    {"capabilities": frozenset({""})},
    {"capabilities": frozenset({"read", "a\0b"})},
    {"capabilities": frozenset({"c" * 256})},
    {"coordination_variables": frozenset({"\0"})},
    {"node_affinity": ["n", ""]},
    {"gauges": {"": 1.0}},
    {"gauges": {"load": float("nan")}},
    {"gauges": dict.fromkeys("abcdefghi", 1.0)},
    {"slots": 0},
    {"slots": 1025},
    {"description": "d" * 4097},
    {"version": "1\n2"},
    {"version": "v" * 129},
    {"protocols": frozenset({""})},
    {"protocols": frozenset(map(str, range(33)))},
    {"protocols": frozenset({"p" * 33})},
    {"doing": "ä" * 201},
    {"doing": "a\x1b[2J"},
    {"resources": {"": 1}},
    {"endpoint": ""},
    {"endpoint": "e" * 2049},
    {"custom": {"deep": _nested(70)}},
    {"custom": {"when": datetime.fromtimestamp(0, UTC)}},
    {"custom": {"keys": {1: 2}}},
    # A time that no calendar in UTC has; only text can say it.
    {"created_at": "0001-01-01T00:00:00+14:00"},
)
FLAWED_IDS: tuple[Id, ...] = (
    ("", "n", "x"),
    ("a", "", "x"),
    ("a", "n", ""),
    ("a", "n\0", "x"),
    ("a" * 200, "n", "x" * 300),
)
# No process has one of these identities, and some of them fit into no row.
IMPOSSIBLE_OWNERS = (Owner(0, 0, 0), Owner(-1, 1, 1), Owner(1, -1, 0), Owner(2**63, 2**64 - 1, 2**64 - 1))

# What an amendment may merge or add: names that are there by chance, and values of every kind.
MERGES: tuple[Fields, ...] = (
    {},
    {"custom": {"plan": 1, "read": {"a": None, "write": 2}}},
    {"custom": {"plan": None}},
    {"custom": {"read": {"plan": {"a": 1}}}, "resources": {"plan": 7, "read": None}},
    {"capabilities": {"read": False, "plan": True}},
    {"coordination_variables": {"a": True}, "capabilities": {"write": True}},
    {"protocols": {"read": False, "mcp": True}},
)
ADDITIONS: tuple[dict[str, int | float], ...] = (
    {},
    {"custom.done": 1},
    {"custom.done": -2, "resources.tokens": 0.5},
    {"custom.read.plan": 1},
    {"custom.plan": 2**63},
    {"resources.schön.a": 3},
)

ids = st.sampled_from(IDS)
words = st.sampled_from(("plan", "read", "write", "plan\x01", "a", "schön"))
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | words
    | st.binary(max_size=9)
)
plain = st.recursive(
    _scalars,
    lambda part: st.lists(part, max_size=2) | st.dictionaries(words, part, max_size=2),
    max_leaves=4,
)
# Times are drawn as seconds before the wall clock of the moment, some of them after it.
_seconds_ago = st.integers(-30, 3600)
_lines = st.sampled_from(("1.2.0", "plan", "schön", "two words"))
_numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)

_all_fields: st.SearchStrategy[Fields] = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(("agent", "service", "coordinator", "resource_manager")),
        "capabilities": st.frozensets(words, max_size=4),
        "resources": st.dictionaries(words, _numbers | words, max_size=2),
        "coordination_variables": st.frozensets(words, max_size=2),
        "health_status": st.sampled_from(("healthy", "degraded", "unhealthy")),
        "node_affinity": st.lists(words, max_size=2),
        "created_at": _seconds_ago,
        "last_health_check": _seconds_ago,
        "endpoint": st.none() | words,
        "custom": st.dictionaries(words, plain, max_size=2)
        | st.integers(0, 70_000).map(lambda size: {"blob": bytes(size)}),
        "gauges": st.dictionaries(words, st.floats(allow_nan=False), max_size=2),
        "slots": st.none() | st.integers(1, 1024),
        "description": st.lists(words, max_size=3).map("\n".join),
        "version": st.just("") | _lines,
        "protocols": st.frozensets(words, max_size=3),
        "doing": st.just("") | _lines,
    },
)
_few_fields: st.SearchStrategy[Fields] = st.fixed_dictionaries(
    {}, optional={"capabilities": st.frozensets(words, max_size=3), "type": st.sampled_from(("agent", "service"))}
)
fields: st.SearchStrategy[Fields] = st.one_of(st.just({}), _few_fields, _few_fields, _all_fields)
flawed: st.SearchStrategy[Item] = st.builds(
    Item, ids, st.sampled_from(FLAWED_FIELDS), st.just("invalid_metadata")
) | st.builds(Item, st.sampled_from(FLAWED_IDS), st.just({}), st.just("invalid_process_id"))
items: st.SearchStrategy[Item] = st.builds(Item, ids, fields)
maybe_flawed = st.one_of(items, items, items, flawed)
