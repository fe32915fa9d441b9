"""The colours of words that have a meaning of their own."""

from __future__ import annotations

_STYLES = {
    "healthy": "green",
    "degraded": "yellow",
    "unhealthy": "red",
    "ok": "green",
    "warning": "yellow",
    "problem": "bold red",
}


def style_of(cell: str) -> str:
    """The colour of a word that stands alone, or of a health status and its age."""
    word, _, more = cell.partition(" ")
    return _STYLES.get(word, "") if not more or more[0].isdigit() else ""
