"""The manifest of Agentic Resource Discovery (ARD, draft 0.9): entries that a search can find.

An entry repeats what a search needs of a card. `representativeQueries`, sentences that a member could answer, are taken
from ``custom["ard"]`` or the examples of its skills; none is invented.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from ..model import Entry
from ..views.mirror import Scope
from .a2a import AgentCard
from .ai_catalog import HostInfo, delivery, host_info
from .collection import AnyRegistry, Card, card_of, cards_in, living
from .identifiers import identifier, name_of, process_id
from .mcp import ServerCard
from .site import Site
from .statement import KINDS, MEDIA_TYPES, NoCard, own_data

Scalar: TypeAlias = str | int | float | bool | None

SPEC_VERSION = "1.0"
REGISTRY_TYPE = "application/ai-registry+json"
# The schema admits no other number of them.
_LEAST_QUERIES, _MOST_QUERIES = 2, 5
# What an entry says about its member, which own data does not override.
_LIFE_NAMES = frozenset({"id", "alive", "health", "doing"})


class ArdEntry(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """One card, or a registry that can be searched."""

    identifier: str
    display_name: str
    type: str
    url: str | UnsetType = UNSET
    data: AgentCard | ServerCard | UnsetType = UNSET
    description: str = ""
    tags: list[str] = []
    capabilities: list[str] = []
    representative_queries: list[str] = []
    version: str = ""
    updated_at: datetime | UnsetType = UNSET
    metadata: dict[str, Scalar] = {}
    trust_manifest: dict[str, Any] | UnsetType = UNSET


class EntryOverrides(msgspec.Struct, frozen=True, rename="camel"):
    """The fields of an entry that `custom["ard"]` may override."""

    display_name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    tags: list[str] | UnsetType = UNSET
    capabilities: list[str] | UnsetType = UNSET
    representative_queries: list[str] | UnsetType = UNSET
    metadata: dict[str, Scalar] | UnsetType = UNSET
    trust_manifest: dict[str, Any] | UnsetType = UNSET


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """A manifest."""

    spec_version: str
    host: HostInfo
    entries: list[ArdEntry]


def manifest(registry: AnyRegistry, site: Site | None = None, scope: Scope | None = None) -> Manifest:
    """Make the ARD manifest of the living members in a scope, by default those of the registry's namespace. Where the
    site has a base URL, the last entry is the registry itself, which `respond` lets clients search; else the cards are
    in the manifest.

    >>> registration = registry.register(
    ...     "planner-1", protocols={"a2a"}, endpoint="http://127.0.0.1:9001", version="1.0", description="Plans trips."
    ... )
    >>> [(entry.display_name, entry.metadata["health"]) for entry in adsum.cards.manifest(registry).entries]
    [('planner-1', 'healthy')]
    """
    site = site or Site()
    found = entries(registry, site, scope)
    if site.base_url:
        found.append(_registry_entry(registry, site))
    return Manifest(SPEC_VERSION, host_info(registry, site), found)


def entries(registry: AnyRegistry, site: Site, scope: Scope | None) -> list[ArdEntry]:
    """The entries of all cards, sorted by the ids of their members."""
    found = cards_in(registry, site.publisher, scope)
    return [_entry(card, site) for card in found if not isinstance(card.card, NoCard)]


def find_entry(registry: AnyRegistry, wanted: str, site: Site, scope: Scope | None) -> ArdEntry | None:
    """The entry of an identifier; None where no living member has such a card."""
    own = _registry_entry(registry, site)
    if wanted == own.identifier:
        return own if site.base_url else None
    found = process_id(wanted, site.publisher)
    kind = next((kind for kind in KINDS if found is not None and kind == found[1]), None)
    if found is None or kind is None:
        return None
    member = living(registry, found[0], scope)
    if member is None:
        return None
    card = card_of(member, kind, site.publisher)
    return None if isinstance(card, NoCard) else _entry(Card(member, kind, card), site)


def _entry(card: Card, site: Site) -> ArdEntry:
    member, metadata, shown = card.entry, card.entry.metadata, card.card
    if isinstance(shown, NoCard):
        raise TypeError(f"{member.process_id} has no card: {shown.reason}")
    capabilities = sorted(metadata.capabilities)
    url, data = delivery(card, site)
    entry = ArdEntry(
        identifier=identifier(member.process_id, card.kind, site.publisher),
        display_name=shown.name if isinstance(shown, AgentCard) else shown.title,
        type=MEDIA_TYPES[card.kind],
        url=url,
        data=data,
        description=shown.description,
        tags=capabilities,
        capabilities=capabilities,
        representative_queries=_queries(_examples(shown)),
        version=shown.version,
        updated_at=member.last_updated,
        metadata=_life(member),
    )
    return _overridden(entry, own_data(member, "ard"))


def _life(member: Entry) -> dict[str, Scalar]:
    """What an entry says about its member, for filters."""
    metadata = member.metadata
    life: dict[str, Scalar] = {"id": str(member.process_id), "alive": True, "health": metadata.health_status.value}
    if metadata.doing:
        life["doing"] = metadata.doing
    return life


def _overridden(entry: ArdEntry, override: dict[str, Any] | NoCard) -> ArdEntry:
    """The entry with the fields of `custom["ard"]`. What does not fit counts as absent: the card itself is right."""
    if isinstance(override, NoCard) or not override:
        return entry
    try:
        given = msgspec.convert(override, EntryOverrides)
    except msgspec.ValidationError:
        return entry
    fields = {name: value for name, value in msgspec.structs.asdict(given).items() if value is not UNSET}
    if "metadata" in fields:
        stated = {name: value for name, value in fields["metadata"].items() if name.strip().lower() not in _LIFE_NAMES}
        fields["metadata"] = stated | entry.metadata
    if "representative_queries" in fields:
        fields["representative_queries"] = _queries(fields["representative_queries"])
    return msgspec.structs.replace(entry, **fields)


def _examples(card: AgentCard | ServerCard) -> list[str]:
    if not isinstance(card, AgentCard):
        return []
    return list(dict.fromkeys(example for skill in card.skills for example in skill.examples))


def _queries(given: list[str]) -> list[str]:
    return given[:_MOST_QUERIES] if len(given) >= _LEAST_QUERIES else []


def _registry_entry(registry: AnyRegistry, site: Site) -> ArdEntry:
    """The registry itself, as something that can be searched."""
    name = name_of((registry.namespace, registry.node))
    return ArdEntry(
        identifier=f"urn:air:{site.publisher}:{name}:registry",
        display_name=host_info(registry, site).display_name,
        type=REGISTRY_TYPE,
        url=site.base_url + "/",
        description="The agents and servers that are alive here and now.",
        tags=["registry"],
        capabilities=["search"],
        representative_queries=["which agents are running here", "find an agent that can do this task"],
    )
