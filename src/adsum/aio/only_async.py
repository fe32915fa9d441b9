"""Advice for a statement that Python itself would refuse with a bare `TypeError`: ``with`` for ``async with``."""

from __future__ import annotations

from typing import TYPE_CHECKING


class OnlyAsync:
    """An object for ``async with``. Type checkers do not see these methods, and report the mistake themselves."""

    if not TYPE_CHECKING:

        def __enter__(self) -> None:
            raise TypeError(f"{type(self).__name__} is for asyncio: write `async with` here, not `with`")

        def __exit__(self, *_: object) -> None:
            """Never called; Python looks for it before it calls `__enter__`."""
