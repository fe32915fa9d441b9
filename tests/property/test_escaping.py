"""Text of members in answers for models: any text at all, and any plain data."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adsum.mcp.escaping import cut, encode

# Single surrogates, too: no entry has one, and the mistake of a caller may have.
_TEXT = st.text(st.characters(codec=None) | st.sampled_from('<>&`[]"\\\x1b\x9b\u202e\ufe0f\U000e0041\u2028\u3164'))
_PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda part: st.lists(part, max_size=4) | st.dictionaries(_TEXT, part, max_size=4),
    max_leaves=12,
)
# What ends a place, acts, or hides: no answer has it.
_SPECIAL = frozenset("<>&`")
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


@given(_PLAIN)
def test_a_parser_gets_the_data_itself(data: Any) -> None:
    """Plain data encodes to JSON on one line, and decodes to itself."""
    encoded = str(encode(data))
    assert json.loads(encoded) == data
    assert "\n" not in encoded


@given(_TEXT)
def test_no_character_of_an_answer_acts_or_hides(text: str) -> None:
    """Encoded text has no character that is special for HTML, Markdown or a terminal, and none that is invisible."""
    encoded = str(encode(text))
    assert encoded[0] == encoded[-1] == '"'
    inside = encoded[1:-1]
    assert not _SPECIAL.intersection(inside)
    assert not {"[", "]"}.intersection(inside)
    assert not [character for character in inside if unicodedata.category(character) in _HIDDEN]
    assert inside.replace("\\\\", "").replace('\\"', "").count('"') == 0


@given(_TEXT, st.integers(10, 50))
def test_a_text_is_cut(text: str, most: int) -> None:
    """A text that is cut has its bound, and begins as it began."""
    short = cut(text, most)
    assert len(short) <= most
    assert text.startswith(short.removesuffix("...")) or short == text


def test_numbers_that_json_lacks() -> None:
    """Infinities and NaN become null: a parser would refuse them."""
    assert json.loads(encode([float("inf"), float("-inf"), float("nan")])) == [None, None, None]


def test_every_invisible_character_is_escaped() -> None:
    """Of all characters that Unicode has drawn as nothing, none is in an answer."""
    fillers = "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b\u180e\u200b\u2060\u2800\u3164\ufe00\ufe0f\ufeff\uffa0"
    for character in fillers + "\U0001d173\U000e0001\U000e0041\U000e0100\U000e01ef":
        assert character not in encode(character)
        assert json.loads(encode(character)) == character


def test_every_special_character_is_escaped() -> None:
    """Of the brackets of HTML and of links, the backtick and the ampersand none is in an answer, nor is any control."""
    for character in "<>&`[]" + "".join(map(chr, (*range(32), *range(127, 160)))):
        encoded = encode(f"a{character}b")
        assert character not in encoded
        assert json.loads(encoded) == f"a{character}b"
    assert encode('"\\') == '"\\"\\\\"'
