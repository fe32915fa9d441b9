"""The templates, and what they call.

Everything that a member wrote is data: each value that a template prints is escaped for HTML, and its control
characters and invisible ones are shown as escapes.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from .. import __version__
from ..model import Entry, HealthStatus, ProcessId
from ..views import words
from ..views.description import lived
from ..views.order import most_common, sorted_names
from .paths import member_path, row_key

FOLDER = Path(__file__).parent
# What is served below /static/, with its media type.
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Asset(NamedTuple):
    """A static file: its content and media type."""

    content: bytes
    media_type: str


def _read_assets() -> Mapping[str, Asset]:
    files = sorted(file for file in (FOLDER / "static").iterdir() if file.suffix in MEDIA_TYPES)
    return {file.name: Asset(file.read_bytes(), MEDIA_TYPES[file.suffix]) for file in files}


ASSETS = _read_assets()
# Part of the address of each asset, so that browsers may keep them until they change.
ASSET_VERSION = hashlib.blake2s(b"".join(asset.content for asset in ASSETS.values()), digest_size=6).hexdigest()


def _finalize(value: object) -> object:
    """What an expression in a template becomes: text of members, made visible. Line breaks stay."""
    if isinstance(value, Markup):
        return value
    if value is None:
        return ""
    text = str(value)
    return text if text.isprintable() else "\n".join(map(words.printable, text.split("\n")))


def exact(text: str) -> Markup:
    """Text that only its own author sees, such as that of a filter box, unchanged but for HTML."""
    return escape(text)


def age_element(moment: datetime) -> Markup:
    """How long ago a moment was, which the page goes on counting."""
    return Markup('<time datetime="{}" data-ago>{}</time>').format(
        moment.isoformat(timespec="seconds"), words.ago(moment)
    )


def at(moment: datetime) -> Markup:
    """A moment, in the time zone of the server; the exact one in UTC is in the title."""
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(
        moment.isoformat(timespec="milliseconds"), words.second(moment)
    )


def clock(moment: datetime) -> Markup:
    """The time of day, to the millisecond, with the date where that is not today."""
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(
        moment.isoformat(timespec="milliseconds"), words.clock(moment)
    )


def as_link(endpoint: str) -> str | None:
    """The endpoint as the target of a link, where a browser can follow it and nothing else happens."""
    try:
        parts = urlsplit(endpoint)
    except ValueError:
        return None
    return endpoint if parts.scheme in ("http", "https") and parts.netloc and endpoint.isprintable() else None


def as_json(value: object) -> str:
    """Plain data as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def health(status: HealthStatus | str) -> Markup:
    """A health status with its sign: its shape and colour say the same."""
    return Markup('<span class="health {0}"><span class="sign" aria-hidden="true"></span>{0}</span>').format(status)


def duration(seconds: float) -> str:
    """A short duration, in the unit that suits it."""
    if seconds < 1:
        return f"{seconds * 1000:.2f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"
    return words.duration(seconds)


def query_of(**pairs: object) -> str:
    """The query of an address with these values, those that are not empty."""
    found = urlencode([(name, value) for name, value in pairs.items() if value not in (None, "")])
    return f"?{found}" if found else ""


def toggled(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    """The names with this one, or without it where it is one of them."""
    return tuple(sorted({*names} ^ {name}))


def python_literal(process_id: ProcessId, namespace: str, node: str) -> str:
    """The id as an argument in Python, for a registry of this namespace and node."""
    if process_id.namespace == namespace and process_id.node == node:
        return ascii(process_id.local_id) if not process_id.local_id.isprintable() else repr(process_id.local_id)
    return repr(tuple(process_id))


def shell_word(text: str) -> str:
    """A text as one word of a shell. What is not printable is escaped: a pasted control character would be a key that
    is pressed."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(_shell_character(char) for char in text) + "'"


def _shell_character(char: str) -> str:
    if char in "\\'":
        return f"\\{char}"
    if char.isprintable():
        return char
    return "".join(f"\\x{byte:02x}" for byte in char.encode())


@lru_cache(1)
def environment() -> Environment:
    """The templates of this package."""
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        sorted_names=sorted_names,
        exact=exact,
        age_element=age_element,
        at=at,
        clock=clock,
        as_link=as_link,
        as_json=as_json,
        health=health,
        duration=duration,
    )
    made.globals.update(
        words=words,
        lived=lived,
        version=ASSET_VERSION,
        release=__version__,
        path_of=member_path,
        key_of=row_key,
        query_of=query_of,
        toggled=toggled,
        most_common=most_common,
    )
    return made


class RenderedRows:
    """Renders the rows of members for pages below one path. Rows of entries that have not changed are kept, without the
    ages in them."""

    # An entry of a few hundred bytes makes a row of a few hundred bytes.
    MAX_KEPT = 20_000

    def __init__(self, base: str) -> None:
        self._base = base
        self._template = environment().get_template("row.html")
        self._kept: dict[ProcessId, tuple[Entry, list[str]]] = {}

    def row(self, entry: Entry) -> str:
        """The row of an entry."""
        kept = self._kept.get(entry.process_id)
        if kept is None or kept[0] != entry or entry.row_place:
            if len(self._kept) >= self.MAX_KEPT:
                self._kept.clear()
            pieces = self._template.render(entry=entry, base=self._base, age=Markup("\0")).split("\0")
            kept = self._kept[entry.process_id] = entry, pieces
        checked, up = words.ago(entry.metadata.last_health_check), words.ago(entry.registered_at)
        first, second, third = kept[1]
        return f"{first}{checked}{second}{up}{third}"


@lru_cache(64)
def rows_below(base: str) -> RenderedRows:
    """The rows for pages below a path."""
    return RenderedRows(base)
