"""The word that a user perhaps meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def similar_word(word: str, known: Iterable[str]) -> str:
    """The most similar one of the known words, in upper or lower case; empty where none is similar."""
    folded = {one.casefold(): one for one in known}
    closest = difflib.get_close_matches(word.casefold(), list(folded), 1)
    return folded[closest[0]] if closest else ""
