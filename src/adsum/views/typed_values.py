"""Values of metadata as they are typed: numbers, words of JSON, text."""

from __future__ import annotations

import math
from typing import Any

import msgspec

# A whole number in metadata must fit 64 bits, with or without a sign.
_WHOLE_NUMBERS = range(-(2**63), 2**64)
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}


def number_or_text(text: str) -> int | float | str:
    """A number, if the text reads as one that can be stored; otherwise the text.

    >>> from adsum.views.typed_values import number_or_text
    >>> number_or_text("12"), number_or_text("0.5"), number_or_text("small")
    (12, 0.5, 'small')
    """
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            # Not a number of this kind.
            continue
        fits = number in _WHOLE_NUMBERS if isinstance(number, int) else math.isfinite(number)
        return number if fits else text
    return text


def plain_value(text: str) -> Any:
    """A number, true, false, null, a JSON list, object or string; otherwise the text. Errors: `ValueError`.

    >>> from adsum.views.typed_values import plain_value
    >>> plain_value("true"), plain_value("[1, 2]"), plain_value("small")
    (True, [1, 2], 'small')
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[:1] not in ("[", "{", '"'):
        return number_or_text(text)
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ValueError(f"{text!r} begins as JSON, but is none ({error}); give text in JSON's quotes") from None
