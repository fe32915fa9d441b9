"""Advice where a program passes an object of adsum to another process, in which Python itself says only that it cannot
pickle a lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar


class OfOneProcess:
    """An object that is of use only in the process that made it. `_instead` says what to do in another one. Type
    checkers do not see the method: for them every object can be pickled."""

    # None of its own, so that a subclass with slots has no dictionary either.
    __slots__ = ()
    _instead: ClassVar[str]

    if not TYPE_CHECKING:

        def __reduce_ex__(self, _protocol: object) -> None:
            raise TypeError(
                f"{type(self).__name__} cannot be pickled or copied: it belongs to the process that made it; "
                f"{self._instead}"
            )
