"""The search of ARD: entries by words and by exact values, ranked by how many of the words they have.

It is a plain comparison of words, with no model of language behind it: the members of one machine are thousands, and
are described in a sentence each.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from ..errors import InvalidQuery
from .ard import ArdEntry
from .identifiers import FORM

PAGE_SIZE = 10
MAX_PAGE_SIZE = 100
# Words that say nothing about what is wanted.
_FILLING = frozenset(
    {"a", "an", "and", "any", "are", "can", "find", "for", "from", "get", "give", "i", "in", "is", "it", "me", "my"}
    | {"need", "of", "on", "or", "please", "show", "some", "that", "the", "to", "want", "which", "who", "with", "you"}
)
# A whole word counts so much, by where it is; the beginning of a word counts as part of that.
_NAMED, _DESCRIBED, _BEGINNING = 1.0, 0.8, 0.6
_SHORTEST_BEGINNING = 4
# What a filter may compare. Paths into metadata are added.
_FIELDS = ("identifier", "displayName", "type", "tags", "capabilities", "version", "publisher")


class QueryModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is searched: words, and values of fields. A context is accepted, and no prefix is looked up in it."""

    text: str
    filter: dict[str, str | list[str]] = {}
    context: Any = msgspec.field(name="@context", default=None)


class SearchRequest(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The body of a search."""

    query: QueryModel
    federation: Literal["auto", "referrals", "none"] = "auto"
    page_size: int = PAGE_SIZE
    page_token: str = ""


class Result(ArdEntry, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """An entry that was found. `score` is from 1 to 100, `source` the registry that found it."""

    score: int
    source: str


class SearchResponse(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The answer to a search. This registry asks no other, and refers to none."""

    results: list[Result]
    page_token: str = ""


class ListResponse(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A page of all entries."""

    items: list[ArdEntry]
    total: int
    page_token: str = ""


class SearchPage(NamedTuple):
    """Where a page begins, and how many entries it has at most."""

    start: int
    size: int

    def token(self, total: int) -> str:
        """The token of the page after this one; empty where this is the last."""
        end = self.start + self.size
        return base64.urlsafe_b64encode(str(end).encode()).decode() if end < total else ""


def page(size: int, token: str) -> SearchPage:
    """The page that a request asks for. Errors: `InvalidQuery`."""
    if size < 1:
        raise InvalidQuery(f"pageSize {size}: give a number from 1 to {MAX_PAGE_SIZE}")
    try:
        start = int(base64.urlsafe_b64decode(token.encode())) if token else 0
    except (ValueError, binascii.Error) as error:
        raise InvalidQuery(f"pageToken {token!r} is none of this registry's") from error
    if start < 0:
        raise InvalidQuery(f"pageToken {token!r} is none of this registry's")
    return SearchPage(start, min(size, MAX_PAGE_SIZE))


def listed(entries: list[ArdEntry], wanted: SearchPage) -> ListResponse:
    """A page of all entries."""
    return ListResponse(entries[wanted.start :][: wanted.size], len(entries), wanted.token(len(entries)))


def search(entries: Iterable[ArdEntry], body: bytes, source: str) -> SearchResponse:
    """The entries that a request asks for, the best first. Errors: `InvalidQuery`."""
    try:
        request = msgspec.json.decode(body, type=SearchRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidQuery(f"the body is no search request: {error}") from error
    words = _words(request.query.text)
    if not words:
        raise InvalidQuery("query.text: give at least one word")
    wanted = page(request.page_size, request.page_token)
    filters = {path: _values(path, values) for path, values in request.query.filter.items()}
    scored = [(_score(entry, words), entry) for entry in entries if _passes(entry, filters)]
    found = sorted((-score, entry.identifier, entry) for score, entry in scored if score)
    results = [_result(entry, -score, source) for score, _, entry in found[wanted.start :][: wanted.size]]
    return SearchResponse(results, wanted.token(len(found)))


def _words(text: str) -> list[str]:
    """The words that count, each once."""
    words = list(dict.fromkeys(re.findall(r"\w+", text.lower())))
    return [word for word in words if word not in _FILLING] or words


def _score(entry: ArdEntry, wanted: list[str]) -> int:
    """How many of the words an entry has, out of 100; at least 1 where it has the least of one."""
    named = set(_words_of(entry.display_name, *entry.capabilities, *entry.tags))
    doing = entry.metadata.get("doing")
    described = set(_words_of(entry.description, str(doing or ""), *entry.representative_queries))
    total = sum(max(_NAMED * _found(word, named), _DESCRIBED * _found(word, described)) for word in wanted)
    return max(1, round(100 * total / len(wanted))) if total else 0


def _words_of(*texts: str) -> list[str]:
    return re.findall(r"[^\W_]+|\w+", " ".join(texts).lower())


def _found(word: str, words: set[str]) -> float:
    """1 where the word is there; less where it and one of them begin alike; else 0."""
    if word in words:
        return 1.0
    alike = (word.startswith(one) or one.startswith(word) for one in words if len(one) >= _SHORTEST_BEGINNING)
    return _BEGINNING if len(word) >= _SHORTEST_BEGINNING and any(alike) else 0.0


def _values(path: str, values: str | list[str]) -> frozenset[str]:
    """The values of one constraint, any of which will do. Errors: `InvalidQuery`."""
    if path not in _FIELDS and not path.startswith("metadata."):
        raise InvalidQuery(f"query.filter: {path!r} is not supported; there are {', '.join(_FIELDS)} and metadata.*")
    return frozenset([values] if isinstance(values, str) else values)


def _passes(entry: ArdEntry, filters: Mapping[str, frozenset[str]]) -> bool:
    return all(not wanted.isdisjoint(_at(entry, path)) for path, wanted in filters.items())


def _at(entry: ArdEntry, path: str) -> list[str]:
    """The values of an entry at a path, as text; booleans as in JSON."""
    if path.startswith("metadata."):
        name = path.removeprefix("metadata.")
        value = entry.metadata.get(name)
        if name not in entry.metadata:
            return []
        return [value if isinstance(value, str) else msgspec.json.encode(value).decode()]
    if path == "publisher":
        return [entry.identifier.split(":")[2]]
    values = {
        "identifier": [entry.identifier],
        "displayName": [entry.display_name],
        "type": [entry.type],
        "tags": entry.tags,
        "capabilities": entry.capabilities,
        "version": [entry.version],
    }
    return values[path]


def _result(entry: ArdEntry, score: int, source: str) -> Result:
    """The entry without what serves the search alone."""
    fields = {name: getattr(entry, name) for name in entry.__struct_fields__}
    return Result(**(fields | {"representative_queries": []}), score=score, source=source)


def is_identifier(text: str) -> bool:
    """Whether a text has the form of an identifier."""
    return FORM.fullmatch(text) is not None
