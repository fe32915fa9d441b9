"""Conditions on `resources`, `custom` and some fields as they are typed: ``tokens>=1000 model=x``, of
``adsum ls --where`` and of the filter of the web pages."""

from __future__ import annotations

import operator
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import InvalidQuery
from ..model import Entry
from .typed_values import number_or_text, plain_value

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
    and some are those of fields; each word of `protocols` is a value.

    >>> from adsum.views.where import Term
    >>> Term("tokens", ">=", "1000").matches(registry.register("worker-1", resources={"tokens": 5000}).entry)
    True
    """

    name: str
    sign: str
    text: str

    def matches(self, entry: Entry) -> bool:
        """Whether the condition holds for an entry.

        >>> from adsum.views.where import parse_term
        >>> parse_term("model!=small").matches(registry.register("worker-1", custom={"model": "large"}).entry)
        True
        """
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
    """Conditions that must all hold; a function of an entry.

    >>> from adsum.views.where import parse_where
    >>> registration = registry.register("worker-1", custom={"model": "small"}, resources={"tokens": 5000})
    >>> len(registry.find(where=parse_where(["tokens>=1000 model=small"])))
    1
    """

    terms: tuple[Term, ...]

    def __call__(self, entry: Entry) -> bool:
        return all(term.matches(entry) for term in self.terms)


def parse_where(words: Sequence[str]) -> Expression | None:
    """The conditions in all of `words`, several in one word with spaces between them; None where `words` is empty.
    Errors: `InvalidQuery`.

    >>> from adsum.views.where import parse_where
    >>> len(parse_where(["tokens>=1000 model=small", "version=1.0"]).terms), parse_where([])
    (3, None)
    """
    terms = [parse_term(part) for word in words for part in split_words(word)]
    return Expression(tuple(terms)) if terms else None


def split_words(text: str) -> list[str]:
    """The words of a text, of which quotes keep those with spaces together. Errors: `InvalidQuery`.

    >>> from adsum.views.where import split_words
    >>> split_words("model='very small' tokens>=1000")
    ['model=very small', 'tokens>=1000']
    """
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise InvalidQuery(f"{text!r}: {error}; close the quotes") from None
    if not parts:
        raise InvalidQuery("give conditions, as in 'tokens>=1000 model=x'")
    return parts


def has_sign(part: str) -> bool:
    """Whether a word looks like a condition, and not like a word to search for.

    >>> from adsum.views.where import has_sign
    >>> has_sign("tokens>=1000"), has_sign("planner")
    (True, False)
    """
    return _TERM.fullmatch(part) is not None


def parse_term(part: str) -> Term:
    """One condition. Errors: `InvalidQuery`.

    >>> from adsum.views.where import parse_term
    >>> parse_term("tokens>=1000")
    Term(name='tokens', sign='>=', text='1000')
    """
    match = _TERM.fullmatch(part)
    if match is None:
        raise InvalidQuery(f"{part!r}: give NAME, one of = != >= <= > < and a value, as in tokens>=1000")
    term = Term(match["name"], match["sign"], match["text"])
    if not all(term.name.split(".")):
        raise InvalidQuery(f"{part!r}: a name is empty; give NAME, custom.NAME or resources.NAME")
    if term.sign in _ORDERS and isinstance(number_or_text(term.text), str):
        raise InvalidQuery(f"{part!r}: {term.text!r} is no number; {term.sign} compares numbers")
    try:
        # A mistake in the value is reported now, and not at the first entry.
        plain_value(term.text)
    except ValueError as error:
        raise InvalidQuery(str(error)) from error
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
