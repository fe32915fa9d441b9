"""The cards of a registry: which members have one, at this moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ..model import Entry, ProcessId
from .a2a import AgentCard, agent_card
from .mcp import ServerCard, server_card
from .stated import KINDS, Kind, NoCard

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


def cards_in(registry: AnyRegistry, publisher: str) -> list[Card]:
    """What the living members of the registry's namespace have for the protocols that they name, sorted by id: a card,
    or why there is none."""
    return [
        Card(entry, kind, card_of(entry, kind, publisher))
        for entry in registry.find(where=_names_a_protocol)
        for kind in KINDS
        if kind in entry.metadata.protocols
    ]


def _names_a_protocol(entry: Entry) -> bool:
    return not entry.metadata.protocols.isdisjoint(KINDS)


def living(registry: AnyRegistry, process_id: ProcessId) -> Entry | None:
    """The entry of a living member of the registry's own namespace."""
    return registry.lookup(process_id) if process_id.namespace == registry.namespace else None
