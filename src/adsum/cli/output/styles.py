"""The colours of words with a meaning: health statuses, findings of `adsum doctor`, kinds of event."""

from __future__ import annotations

_STYLES = {
    "healthy": "green",
    "degraded": "yellow",
    "unhealthy": "red",
    "ok": "green",
    "warning": "yellow",
    "problem": "bold red",
    "unreachable": "bold red",
}
EVENT_STYLES = {
    "registered": "green",
    "died": "bold red",
    "unregistered": "red",
    "lagged": "bold yellow",
    "unreachable": "bold red",
    "returned": "yellow",
    "whole": "green",
}


def style_of(cell: str) -> str:
    """The style of a cell that is one of these words, or a health status followed by its age."""
    word, _, more = cell.partition(" ")
    return _STYLES.get(word, "") if not more or more[0].isdigit() else ""
