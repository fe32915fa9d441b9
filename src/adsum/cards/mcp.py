"""The server card of MCP (SEP-2127): what a server is called, and where it answers.

The rules for names and lengths are those of the schema of server cards, version 1. A card says nothing about tools and
resources: a client lists these when it is connected.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from ..model import Entry
from .identifiers import name_of
from .statement import LIVENESS_URI, NoCard, field, http_url, is_forged, liveness, statement_of

SCHEMA = "https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json"
MAX_NAME = 200
MAX_TEXT = 100
MAX_VERSION = 255
# A name of more characters ends with so many of its digest.
_DIGITS = 16
# Names of extensions have a prefix with a slash here. Each with this one is adsum's.
_PREFIX = "adsum/"
_LIVENESS_KEY = f"{_PREFIX}liveness"


class Remote(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One address of a server."""

    type: str
    url: str
    headers: list[dict[str, Any]] = []
    variables: dict[str, Any] = {}
    supported_protocol_versions: list[str] = []


class ServerCard(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """A server card."""

    schema: str = msgspec.field(name="$schema")
    name: str
    version: str
    description: str
    title: str
    remotes: list[Remote]
    meta: dict[str, Any] = msgspec.field(name="_meta")
    website_url: str | None = None
    repository: dict[str, Any] | None = None
    icons: list[dict[str, Any]] = []


def server_card(entry: Entry, publisher: str = "agent.localhost") -> ServerCard | NoCard:
    """Make the server card of a member, in the name of a publisher, a domain. `NoCard` says why there is none; see
    `agent_card`.

    Fields in ``custom["mcp"]``, under the names that they have in the card, take the place of those made from the
    entry, but for names in ``_meta`` that begin with ``adsum/``. Texts that are too long for a card are shortened.

    >>> registration = registry.register(
    ...     "weather", protocols={"mcp"}, endpoint="http://127.0.0.1:9002/mcp", version="2.1", description="Weather."
    ... )
    >>> card = adsum.cards.server_card(registry["weather"], "example.com")
    >>> card.title, card.remotes[0].type, card.remotes[0].url
    ('weather', 'streamable-http', 'http://127.0.0.1:9002/mcp')
    """
    states = statement_of(entry, "mcp")
    if isinstance(states, NoCard):
        return states
    url = http_url(states.endpoint)
    if isinstance(url, NoCard) and "remotes" not in states.override:
        return url
    fields = states.fields | {"title": entry.process_id.local_id, "remotes": [{"url": states.endpoint}]}
    fields |= states.override
    try:
        fields |= {
            "$schema": SCHEMA,
            "name": states.override.get("name") or _server_name(entry, publisher),
            "title": _shortened(field(fields, "title", str), MAX_TEXT),
            "description": _shortened(field(fields, "description", str), MAX_TEXT),
            "version": _shortened(field(fields, "version", str), MAX_VERSION),
            "remotes": [{"type": "streamable-http", **one} for one in field(fields, "remotes", list[dict[str, Any]])],
            "_meta": {**_stated_meta(fields), _LIVENESS_KEY: _liveness(entry)},
        }
        card = msgspec.convert(fields, ServerCard)
    except msgspec.ValidationError as error:
        return NoCard(f"custom['mcp'] does not fit a server card: {error}")
    return card if card.remotes else NoCard("custom['mcp'] leaves it no address")


def _stated_meta(fields: dict[str, Any]) -> dict[str, Any]:
    given = field({"_meta": {}, **fields}, "_meta", dict[str, Any])
    return {
        name: value
        for name, value in given.items()
        if not (name.strip().lower().startswith(_PREFIX) or is_forged(value))
    }


def _liveness(entry: Entry) -> dict[str, Any]:
    return {"uri": LIVENESS_URI, **msgspec.to_builtins(liveness(entry))}


def _server_name(entry: Entry, publisher: str) -> str:
    """The publisher's domain from its end, a slash, and the member's name: as in ``com.example/weather``."""
    prefix = ".".join(reversed(publisher.split("."))) + "/"
    name = name_of(entry.process_id)
    room = MAX_NAME - len(prefix)
    if len(name) <= room:
        return prefix + name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]
    return f"{prefix}{name[: room - _DIGITS - 1]}-{digest}"


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
