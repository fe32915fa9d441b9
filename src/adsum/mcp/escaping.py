"""Text that other processes wrote, as JSON that means nothing but itself wherever it is shown.

An answer is read by a model and may be drawn by its host, as Markdown, as HTML or on a terminal. So a string is
written with ``\\u`` escapes for every character that could end the place it is in or hide from a reader: the brackets
of HTML and of links, the backtick that ends a code block, control characters, and those that are not visible, such as
marks of direction, joiners, variation selectors and tags. A JSON parser gets the text itself, whatever was escaped.

Nothing here finds out what a text means. That an instruction in it is no instruction is said in words, beside it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

# All that is not plain ASCII, and what is special in JSON, HTML or Markdown. `_escape` decides about the rest.
_QUESTIONABLE = re.compile(r"[^\x20-\x7e]|[\"\\<>&`\[\]]")
# Characters that Unicode counts as printable, and that are drawn as nothing (Default_Ignorable_Code_Point): fillers,
# the grapheme joiner, inherent vowels of Khmer, and variation selectors.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
# The short escapes of JSON. None of them is special anywhere else.
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Written where a text was cut.
CUT = "..."


class JsonText(str):
    """A value that is JSON already."""

    __slots__ = ()


def encode(value: object) -> JsonText:
    """The JSON of plain data, on one line, with every string escaped. Numbers that JSON lacks become null."""
    if isinstance(value, JsonText):
        return value
    if isinstance(value, str):
        return JsonText(f'"{_QUESTIONABLE.sub(_escape, value)}"')
    if isinstance(value, Mapping):
        return JsonText("{" + ",".join(f"{encode(str(key))}:{encode(part)}" for key, part in value.items()) + "}")
    if isinstance(value, (list, tuple)):
        return JsonText("[" + ",".join(map(encode, value)) + "]")
    if isinstance(value, float) and not math.isfinite(value):
        return JsonText("null")
    return JsonText(json.dumps(value))


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    if character in _SHORT:
        return _SHORT[character]
    if character > "\x7f" and character.isprintable() and not _INVISIBLE.match(character):
        return character
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    # JSON escapes the two surrogates of UTF-16 (RFC 8259, section 7).
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def cut(text: str, most: int) -> str:
    """The text, of at most so many characters; where it was longer, it ends with `CUT`."""
    return text if len(text) <= most else text[: most - len(CUT)] + CUT
