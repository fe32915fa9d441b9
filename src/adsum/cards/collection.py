"""The cards of a registry: which members have one, at this moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from .. import ALL
from ..model import Entry, ProcessId
from ..views.mirror import Scope
from .a2a import AgentCard, agent_card
from .mcp import ServerCard, server_card
from .statement import KINDS, Kind, NoCard

if TYPE_CHECKING:
    from .. import AsyncRegistry, Registry

# Both are read in the same way.
AnyRegistry: TypeAlias = "Registry | AsyncRegistry"


class Card(NamedTuple):
    """A member's card of a kind; `NoCard` where the member names the protocol and something is missing."""

    entry: Entry
    kind: Kind
    card: AgentCard | ServerCard | NoCard


def card_of(entry: Entry, kind: Kind, publisher: str) -> AgentCard | ServerCard | NoCard:
    """The card of a member, of one kind."""
    return agent_card(entry) if kind == "a2a" else server_card(entry, publisher)


def cards_in(registry: AnyRegistry, publisher: str, scope: Scope | None = None) -> list[Card]:
    """What the living members in a scope have for the protocols that they name, sorted by id: a card, or why there is
    none. By default the scope is the registry's own namespace.

    >>> fields = {"protocols": {"a2a"}, "endpoint": "http://127.0.0.1:9001", "description": "Plans.", "version": "1.0"}
    >>> team = registry.register_many([("planner-1", fields), ("worker-1", {})])
    >>> [(card.entry.process_id.local_id, card.kind) for card in adsum.cards.cards_in(registry, "example.com")]
    [('planner-1', 'a2a')]
    """
    wanted = scope or Scope(registry.namespace)
    namespace = ALL if wanted.namespace is None else wanted.namespace
    return [
        Card(entry, kind, card_of(entry, kind, publisher))
        for entry in registry.find(namespace=namespace, node=wanted.node, where=_names_a_protocol)
        for kind in KINDS
        if kind in entry.metadata.protocols
    ]


def _names_a_protocol(entry: Entry) -> bool:
    return not entry.metadata.protocols.isdisjoint(KINDS)


def living(registry: AnyRegistry, process_id: ProcessId, scope: Scope | None) -> Entry | None:
    """The entry of a living member in a scope."""
    wanted = scope or Scope(registry.namespace)
    return registry.lookup(process_id) if wanted.covers(process_id) else None
