"""The parts of `adsum top`: keys, and the order of members."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsum.cli.top.choices import ORDERS, UserChoices
from adsum.cli.top.keyboard import Keyboard, keys_in
from adsum.model import EPOCH, Entry, Metadata, ProcessId


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ("q", ["q"]),
        ("\x1b[A\x1b[B", ["up", "down"]),
        ("\x1bOA", ["up"]),
        ("\x1b[5~\x1b[6~j", ["page up", "page down", "j"]),
        ("\x1b[H\x1b[4~", ["home", "end"]),
        ("\x1b", ["escape"]),
        ("\x1bq", ["escape", "q"]),
        ("\r\x7f", ["enter", "backspace"]),
        ("ü ", ["ü", " "]),
        ("\x1b[1;5C\x00x", ["x"]),
    ],
)
def test_keys_are_decoded_from_the_terminals_bytes(sent: str, keys: list[str]) -> None:
    """Characters and named keys are decoded; unknown sequences are left out."""
    assert keys_in(sent) == keys


@pytest.mark.parametrize("sent", ["\x1b[A", "ü", "\x1b[5~"])
def test_a_key_that_comes_in_pieces_is_one_key(sent: str) -> None:
    """On a slow line the bytes of a key may come one by one, and still make one key."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb"), os.fdopen(writer, "wb", buffering=0) as line:
        keyboard = Keyboard(reader)
        keys: list[str] = []
        first, *rest = sent.encode()
        line.write(bytes([first]))
        # All bytes are in the terminal before the first read.
        if first == 0x1B:
            line.write(bytes(rest))
            keys += keyboard.read()
        else:
            keys += keyboard.read()
            line.write(bytes(rest))
            keys += keyboard.read()
    assert keys == keys_in(sent)


_NAMES = ["up", "down", "page up", "page down", "home", "end", "enter", "escape", "backspace", *"jkgGsr/ abc"]


@given(st.lists(st.sampled_from(_NAMES), max_size=40), st.integers(0, 50), st.integers(1, 20))
def test_the_window_stays_inside_the_list(keys: list[str], total: int, rows: int) -> None:
    """After any keys, the window shows as many consecutive members as fit."""
    choices = UserChoices()
    for key in keys:
        assert choices.press(key, rows)
        window = choices.window(total, rows)
        assert len(range(total)[window]) == min(total, rows)


def _entry(local_id: str, number: int, **metadata: object) -> Entry:
    process_id = ProcessId("default", "here", local_id)
    return Entry(process_id, 100 - number, 2, 3, number, EPOCH, EPOCH, number, Metadata(**metadata))  # type: ignore[arg-type]


def test_each_order_begins_with_the_members_that_need_attention() -> None:
    """By health the unhealthy members come first, by heartbeat the latest ones, by age the newest."""
    entries = [
        _entry("a", 1),
        _entry("b", 2, health_status="degraded", type="service"),
        _entry("c", 3, heartbeat=1.0),
        _entry("d", 4, health_status="unhealthy", heartbeat=5.0),
    ]
    choices = UserChoices()
    found = {}
    for order in ORDERS:
        choices.order = order
        found[order] = "".join(entry.process_id.local_id for entry in choices.select(entries))
    assert found == {"id": "abcd", "health": "dbac", "heartbeat": "cdab", "age": "dcba", "type": "acdb", "pid": "dcba"}


def test_numbers_in_ids_are_sorted_as_numbers() -> None:
    """agent-2 comes before agent-10, and ids that differ in leading zeros have an order too."""
    names = ["agent-10", "agent-2", "10", "agent-02", "agent", "2", "agent-2-b"]
    found = UserChoices().select(_entry(name, number) for number, name in enumerate(names, 1))
    expected = ["2", "10", "agent", "agent-02", "agent-2", "agent-2-b", "agent-10"]
    assert [entry.process_id.local_id for entry in found] == expected


def test_every_word_of_a_filter_must_match() -> None:
    """A filter matches id, pid, type, health and capabilities, regardless of case."""
    entries = [_entry("Alpha", 1, capabilities=frozenset({"planning"})), _entry("beta", 2, type="service")]
    choices = UserChoices()
    found = {}
    for text in ("ALPHA", "plan al", "plan beta", "98", "service", "healthy", ""):
        choices.filter = text
        found[text] = [entry.process_id.local_id for entry in choices.select(entries)]
    both = ["Alpha", "beta"]
    expected = {"ALPHA": ["Alpha"], "plan al": ["Alpha"], "plan beta": [], "98": ["beta"], "service": ["beta"]}
    assert found == {**expected, "healthy": both, "": both}
