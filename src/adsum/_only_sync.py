"""Advice for a statement that Python itself would refuse with a bare `TypeError`: ``async with`` for ``with``.

There is none for ``async for``: an object with `__aiter__` counts as an asynchronous iterable, and a web framework, for
one, would use it as such.
"""

from __future__ import annotations

from typing import TYPE_CHECKING


class OnlySync:
    """An object for ``with``. Type checkers do not see these methods, and report the mistake themselves."""

    __slots__ = ()

    if not TYPE_CHECKING:

        async def __aenter__(self) -> None:
            raise TypeError(
                f"{type(self).__name__} is not for asyncio: write `with` here, not `async with`; adsum.open_async() "
                "opens a registry for asyncio"
            )

        async def __aexit__(self, *_: object) -> None:
            """Never called; Python looks for it before it calls `__aenter__`."""
