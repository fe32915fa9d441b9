"""Dictionaries and lists that refuse to change.

Entries are shared: one decoded entry is handed to every caller that looks it up, so nothing inside may be changed by
one of them. These are real `dict` and `list` subclasses, so they compare, encode, iterate and pickle as such.
"""

from __future__ import annotations

from typing import Any, NoReturn

_SHARED = "entries are shared and never change in place; copy it, and use update() to change the registry"


def _refuse(self: object, *_args: object, **_named: object) -> NoReturn:
    raise TypeError(getattr(self, "refusal", _SHARED))


class FrozenDict(dict[str, Any]):
    """A `dict` that cannot be changed after it is made."""

    __slots__ = ()
    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = _refuse
    __ior__ = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)

    def __hash__(self) -> int:  # type: ignore[override]
        raise TypeError("unhashable type: 'FrozenDict'")


class FrozenList(list[Any]):
    """A `list` that cannot be changed after it is made."""

    __slots__ = ()
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenList, (list(self),)

    def __hash__(self) -> int:  # type: ignore[override]
        raise TypeError("unhashable type: 'FrozenList'")


EMPTY_DICT = FrozenDict()
EMPTY_LIST = FrozenList()
EMPTY_SET: frozenset[str] = frozenset()


def freeze(value: Any) -> Any:
    """The same plain data with every dict and list in it frozen."""
    if isinstance(value, dict):
        return FrozenDict({name: freeze(part) for name, part in value.items()}) if value else EMPTY_DICT
    if isinstance(value, (list, tuple)):
        return FrozenList(freeze(part) for part in value) if value else EMPTY_LIST
    return value
