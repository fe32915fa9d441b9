"""The local members: registered threads and tasks of this process, whose ends it knows before the tables do.

Between the end of a thread and the removal of its entry lies a request to the registrar. A caller that has joined the
thread and then reads in the same process must not find its entry, so every read asks here last.
"""

from __future__ import annotations

from collections.abc import Callable


class LocalMembers:
    """The entries of this process's threads and tasks, by incarnation, and for each a function: has it ended?"""

    def __init__(self) -> None:
        self._over: dict[int, Callable[[], bool]] = {}

    def __bool__(self) -> bool:
        return bool(self._over)

    def __contains__(self, incarnation: object) -> bool:
        return incarnation in self._over

    def add(self, incarnation: int, is_over: Callable[[], bool]) -> None:
        self._over[incarnation] = is_over

    def discard(self, incarnation: int) -> None:
        """Its entry was removed from the tables."""
        self._over.pop(incarnation, None)

    def is_over(self, incarnation: int) -> bool:
        is_over = self._over.get(incarnation)
        return is_over is not None and is_over()

    def over(self) -> list[int]:
        """The incarnations of ended members that may still be in the tables."""
        return [incarnation for incarnation in list(self._over) if self.is_over(incarnation)]
