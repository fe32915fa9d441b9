"""The expressions of ``--where``: conditions on `resources`, `custom` and some fields, as they are typed in a shell."""

from __future__ import annotations

import operator
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..model import Entry
from .options import UsageError
from .values import number_or_text, plain_value

# Fields of the metadata that a name without a dot asks for, beside `resources` and `custom`.
_FIELDS = frozenset({"description", "version", "doing", "protocols"})
_TERM = re.compile(r"(?P<name>[^=<>!]+)(?P<sign>>=|<=|!=|=|>|<)(?P<text>.*)", re.DOTALL)
_ORDERS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


class Term(NamedTuple):
    """One condition: a name, a sign and a value. A name without a field is looked up in `resources` and `custom`,
    and some are those of fields; each word of `protocols` is a value."""

    name: str
    sign: str
    text: str

    def matches(self, entry: Entry) -> bool:
        values = [value for value in _values(entry, self.name) if value is not None]
        if self.sign == "!=":
            return not any(self._equals(value) for value in values)
        return any(self._holds(value) for value in values)

    def _holds(self, value: object) -> bool:
        if self.sign == "=":
            return self._equals(value)
        bound = number_or_text(self.text)
        if isinstance(bound, str) or isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        return _ORDERS[self.sign](value, bound)

    def _equals(self, value: object) -> bool:
        # What is stored as text is compared as text, also where the text reads as a number.
        wanted = self.text if isinstance(value, str) else plain_value(self.text)
        return isinstance(value, bool) == isinstance(wanted, bool) and value == wanted


@dataclass(frozen=True)
class Expression:
    """Conditions that must all hold; a function of an entry."""

    terms: tuple[Term, ...]

    def __call__(self, entry: Entry) -> bool:
        return all(term.matches(entry) for term in self.terms)


def parse_where(words: Sequence[str]) -> Expression | None:
    """The conditions of all ``--where`` options; None where there are none. Errors: `UsageError`."""
    terms = [_term(part) for word in words for part in _parts(word)]
    return Expression(tuple(terms)) if terms else None


def _parts(word: str) -> list[str]:
    try:
        parts = shlex.split(word)
    except ValueError as error:
        raise UsageError(f"--where {word!r}: {error}; close the quotes") from None
    if not parts:
        raise UsageError("--where: give conditions, as in --where 'tokens>=1000 model=x'")
    return parts


def _term(part: str) -> Term:
    match = _TERM.fullmatch(part)
    if match is None:
        raise UsageError(f"--where {part!r}: give NAME, one of = != >= <= > < and a value, as in tokens>=1000")
    term = Term(match["name"], match["sign"], match["text"])
    if not all(term.name.split(".")):
        raise UsageError(f"--where {part!r}: a name is empty; give NAME, custom.NAME or resources.NAME")
    if term.sign in _ORDERS and isinstance(number_or_text(term.text), str):
        raise UsageError(f"--where {part!r}: {term.text!r} is no number; {term.sign} compares numbers")
    # A mistake in the value is reported now, and not at the first entry.
    plain_value(term.text)
    return term


def _values(entry: Entry, name: str) -> list[object]:
    field, _, rest = name.partition(".")
    if rest and field == "resources":
        return [entry.metadata.resources.get(rest)]
    if rest and field == "custom":
        return [_inside(entry.metadata.custom, rest)]
    own = [entry.metadata.resources.get(name), _inside(entry.metadata.custom, name)]
    if name not in _FIELDS:
        return own
    value: str | frozenset[str] = getattr(entry.metadata, name)
    return [*own, value] if isinstance(value, str) else [*own, *value]


def _inside(value: object, path: str) -> object:
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value
