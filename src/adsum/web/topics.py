"""What the pages follow, besides rows of members: parts of a page that are rendered anew as a whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import msgspec

from ..model import Entry, ProcessId, Revision
from ..views.recent import Step

# A part is rendered again at most so often, and so rarely that rendering takes a tenth of the time.
PART_SECONDS = 0.5
SHARE = 10
# The most changes that are kept between two renderings.
MAX_STEPS = 200


def message(**fields: object) -> bytes:
    """The lines of an event with this content. JSON has no line breaks, so it is one line."""
    return b"data: " + msgspec.json.encode(fields) + b"\n\n"


class Parts:
    """Parts of a page, by the id of their element. Rendered after changes, and given where they differ."""

    def __init__(self, render: Callable[[], dict[str, str]]) -> None:
        self._render = render
        self._known: dict[str, str] = {}
        self._due_at = 0.0
        self._is_stale = True

    def note(self) -> None:
        """Something changed that may be in a part."""
        self._is_stale = True

    def forget(self) -> None:
        """Give all parts again: a page has come that may have older ones."""
        self._known = {}
        self._is_stale = True

    def take(self, now: float) -> dict[str, str]:
        """The parts that differ from those that were given last, if it is time."""
        if not self._is_stale or now < self._due_at:
            return {}
        self._is_stale = False
        began = time.monotonic()
        rendered = self._render()
        ended = time.monotonic()
        self._due_at = ended + max(PART_SECONDS, SHARE * (ended - began))
        different = {name: html for name, html in rendered.items() if self._known.get(name) != html}
        self._known = rendered
        return different


class PartsTopic:
    """A page that is made of parts alone: one member, the team, the registry. Each sweep renders them again, because
    what they show is more than changes. `render` is given the changes that concern the page, since the last call."""

    def __init__(
        self,
        revision: Revision,
        render: Callable[[list[Step]], dict[str, str]],
        concerns: Callable[[Step], bool] = lambda _: True,
    ) -> None:
        self.sent = revision
        self._steps: list[Step] = []
        self._concerns = concerns
        self._parts = Parts(lambda: render(self._taken_steps()))

    def _taken_steps(self) -> list[Step]:
        taken, self._steps = self._steps, []
        return taken

    def note(self, steps: Iterable[Step], revision: Revision) -> None:
        self.sent = revision
        if found := [step for step in steps if self._concerns(step)]:
            self._steps = (self._steps + found)[-MAX_STEPS:]
            self._parts.note()

    def sweep(self, living: dict[ProcessId, Entry], gone: set[ProcessId]) -> None:
        self._parts.note()

    def take(self, now: float) -> bytes | None:
        parts = self._parts.take(now)
        return message(parts=parts) if parts else None

    def missed(self, steps: Iterable[Step]) -> bytes | None:
        """Nothing: the next rendering brings all that is shown."""
        self._parts.forget()
        return None
