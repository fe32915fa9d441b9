"""Words that a user searches for: an entry is found if each of them is in its text."""

from __future__ import annotations

from collections.abc import Sequence

from ..model import Entry


def has_words(entry: Entry, lower_words: Sequence[str]) -> bool:
    """Whether each of the words, in lower case, occurs in the entry's id, pid, type, health status, capabilities,
    protocols, version, description, or in what it is doing.

    >>> from adsum.views.search_words import has_words
    >>> entry = registry.register("planner-1", capabilities={"planning"}).entry
    >>> has_words(entry, ["planner", "agent"]), has_words(entry, ["storage"])
    (True, False)
    """
    if not lower_words:
        return True
    metadata = entry.metadata
    text = " ".join(
        [
            *(str(entry.process_id), str(entry.pid), metadata.type, metadata.health_status),
            *(*sorted(metadata.capabilities), *sorted(metadata.protocols)),
            *(metadata.version, metadata.description, metadata.doing),
        ]
    ).lower()
    return all(word in text for word in lower_words)
