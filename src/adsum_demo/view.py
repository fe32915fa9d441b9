"""What there is to see while the demo runs. How it is shown is for the command to decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias


class Row(NamedTuple):
    """An agent. `pid`, `incarnation` and `health` are what the registry says; None while it is not there."""

    name: str
    abilities: str
    pid: int | None
    incarnation: int | None
    health: str | None
    pieces: int
    at: str


class View(NamedTuple):
    """One moment; an observer may raise something to make it the last. `news` holds every event so far, oldest first;
    `alone` is True in the sequential run."""

    registry: str
    namespace: str
    rows: list[Row]
    done: int
    files: int
    seconds: float
    deaths: int
    news: list[str]
    alone: bool = False


Observer: TypeAlias = Callable[[View], None]
