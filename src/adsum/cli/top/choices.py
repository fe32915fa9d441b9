"""The choices of the user of `adsum top`: the order, the filter, and the position in the list."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ...model import Entry
from ...views import words
from ...views.order import by_id
from ...views.search_words import has_words
from . import keyboard

_SEVERITY = ("unhealthy", "degraded", "healthy")

# Each order puts those first that an operator looks for: unhealthy ones, late ones, new ones.
ORDERS: dict[str, Callable[[Entry], Any]] = {
    "id": lambda entry: by_id(entry.process_id),
    "health": lambda entry: (_SEVERITY.index(entry.metadata.health_status), by_id(entry.process_id)),
    "heartbeat": lambda entry: (-lateness(entry), by_id(entry.process_id)),
    "age": lambda entry: -entry.incarnation,
    "type": lambda entry: (entry.metadata.type, by_id(entry.process_id)),
    "pid": lambda entry: (entry.pid, by_id(entry.process_id)),
}


def lateness(entry: Entry) -> float:
    """Seconds by which the promised heartbeat is late: negative where it is not due yet, minus infinity without a
    promise."""
    interval = entry.metadata.heartbeat
    return float("-inf") if interval is None else words.seconds_since(entry.metadata.last_health_check) - interval


class UserChoices:
    """Order, filter and position in the list, changed by keys."""

    def __init__(self) -> None:
        self.order = "id"
        self.reverse = False
        self.filter = ""
        self.typing = False
        self.offset = 0

    def press(self, key: str, page: int) -> bool:
        """Take a key; `page` is the number of rows of a page. Returns False for a key that ends the program."""
        if key == keyboard.END_OF_INPUT:
            return False
        if self.typing:
            self._type(key)
            return True
        match key:
            case "q" | "Q":
                return False
            case "s":
                names = list(ORDERS)
                self.order = names[(names.index(self.order) + 1) % len(names)]
            case "r":
                self.reverse = not self.reverse
            case "/":
                self.typing = True
            case keyboard.ESCAPE:
                self.filter = ""
            case _:
                self._scroll(key, page)
        return True

    def select(self, entries: Iterable[Entry]) -> list[Entry]:
        """The entries that match every word of the filter, in order."""
        words = self.filter.lower().split()
        found = entries if not words else [entry for entry in entries if has_words(entry, words)]
        return sorted(found, key=ORDERS[self.order], reverse=self.reverse)

    def window(self, total: int, rows: int) -> slice:
        """The part of `total` entries that is visible in so many rows."""
        self.offset = max(0, min(self.offset, total - rows))
        return slice(self.offset, self.offset + rows)

    def _type(self, key: str) -> None:
        match key:
            case keyboard.ENTER:
                self.typing = False
            case keyboard.ESCAPE:
                self.typing, self.filter = False, ""
            case keyboard.BACKSPACE:
                self.filter = self.filter[:-1]
            case _ if len(key) == 1:
                self.filter += key
        self.offset = 0

    def _scroll(self, key: str, page: int) -> None:
        steps = {
            keyboard.UP: -1,
            "k": -1,
            keyboard.DOWN: 1,
            "j": 1,
            keyboard.PAGE_UP: -page,
            keyboard.PAGE_DOWN: page,
            " ": page,
        }
        if key in (keyboard.HOME, "g"):
            self.offset = 0
        elif key in (keyboard.END, "G"):
            # `window` reduces it to the last page.
            self.offset = 1 << 31
        else:
            self.offset = max(0, self.offset + steps.get(key, 0))
