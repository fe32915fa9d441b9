"""The AI Catalog, version 0.9: a list of what has a card, each entry with its kind and where the card is.

An entry repeats nothing that its card says. Tags are there because clients filter by them without reading the cards.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from ..views.mirror import Scope
from ..views.paths import member_path
from .a2a import AgentCard
from .collection import AnyRegistry, Card, cards_in
from .identifiers import identifier
from .mcp import ServerCard
from .site import Site
from .statement import MEDIA_TYPES, Kind, NoCard

SPEC_VERSION = "0.9"
MEDIA_TYPE = "application/ai-catalog+json"
# Where a member's cards are, below its own URL.
CARD_PATHS: dict[Kind, str] = {"a2a": "/.well-known/agent-card.json", "mcp": "/server-card"}


class HostInfo(msgspec.Struct, frozen=True, rename="camel"):
    """Who runs a catalogue."""

    display_name: str


class CatalogEntry(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """One card: where it is, or the card itself."""

    identifier: str
    type: str
    url: str | UnsetType = UNSET
    data: AgentCard | ServerCard | UnsetType = UNSET
    tags: list[str] = []
    updated_at: datetime


class Catalog(msgspec.Struct, frozen=True, rename="camel"):
    """An AI Catalog."""

    spec_version: str
    host: HostInfo
    entries: list[CatalogEntry]


def catalog(registry: AnyRegistry, site: Site | None = None, scope: Scope | None = None) -> Catalog:
    """Make the AI Catalog of the living members in a scope, by default those of the registry's namespace. Where the
    site has no base URL, the cards are in the catalogue.

    >>> registration = registry.register(
    ...     "planner-1", protocols={"a2a"}, endpoint="http://127.0.0.1:9001", version="1.0", description="Plans trips."
    ... )
    >>> [entry.data.name for entry in adsum.cards.catalog(registry).entries]
    ['planner-1']
    """
    site = site or Site()
    found = cards_in(registry, site.publisher, scope)
    entries = [_entry(card, site) for card in found if not isinstance(card.card, NoCard)]
    return Catalog(SPEC_VERSION, host_info(registry, site), entries)


def _entry(card: Card, site: Site) -> CatalogEntry:
    url, data = delivery(card, site)
    return CatalogEntry(
        identifier=identifier(card.entry.process_id, card.kind, site.publisher),
        type=MEDIA_TYPES[card.kind],
        url=url,
        data=data,
        tags=sorted(card.entry.metadata.capabilities),
        updated_at=card.entry.last_updated,
    )


def host_info(registry: AnyRegistry, site: Site) -> HostInfo:
    """Who runs the catalogues of a registry."""
    return HostInfo(site.display_name or registry.node)


def delivery(card: Card, site: Site) -> tuple[str | UnsetType, AgentCard | ServerCard | UnsetType]:
    """Where a card is, or the card itself where the site has no base URL: one of both."""
    made = card.card
    if isinstance(made, NoCard):
        raise TypeError(f"{card.entry.process_id} has no card: {made.reason}")
    if not site.base_url:
        return UNSET, made
    return f"{site.base_url}/agents/{member_path(card.entry.process_id)}{CARD_PATHS[card.kind]}", UNSET
