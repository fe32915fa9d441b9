"""The agent card of A2A 1.0: what an agent is, where it answers, and what it can do.

The fields and their JSON names are those of the message AgentCard in the protocol's definition (a2a.proto). Life and
health are in an extension that carries data only, so a client that does not know it loses nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..model import Entry
from .statement import LIVENESS_URI as LIVENESS_URI
from .statement import CardStatement, NoCard, field, http_url, is_forged, liveness, statement_of

PROTOCOL_VERSION = "1.0"
BINDING = "JSONRPC"
_TEXT = ["text/plain"]
_Mappings = list[dict[str, Any]]
_LIVENESS_SAYS = "Whether the agent is alive and how well it is, as its registry knows from the kernel."


class AgentInterface(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One address of an agent."""

    url: str
    protocol_binding: str
    protocol_version: str
    tenant: str = ""


class AgentProvider(msgspec.Struct, frozen=True, rename="camel"):
    """Who offers an agent."""

    url: str
    organization: str


class AgentExtension(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An extension of the protocol that an agent declares."""

    uri: str
    description: str = ""
    required: bool = False
    params: dict[str, Any] = {}


class AgentCapabilities(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Which optional parts of the protocol an agent has."""

    streaming: bool | None = None
    push_notifications: bool | None = None
    extensions: list[AgentExtension] = []
    extended_agent_card: bool | None = None


class AgentSkill(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One thing that an agent can do."""

    id: str
    name: str
    description: str
    tags: list[str]
    input_modes: list[str]
    output_modes: list[str]
    examples: list[str] = []
    security_requirements: list[dict[str, Any]] = []


class AgentCard(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """An agent card. Signatures are left out: what is signed would have to stay as it is, and health does not."""

    name: str
    description: str
    supported_interfaces: list[AgentInterface]
    version: str
    capabilities: AgentCapabilities
    default_input_modes: list[str]
    default_output_modes: list[str]
    skills: list[AgentSkill]
    provider: AgentProvider | None = None
    documentation_url: str | None = None
    icon_url: str | None = None
    security_schemes: dict[str, Any] = {}
    security_requirements: list[dict[str, Any]] = []


def agent_card(entry: Entry) -> AgentCard | NoCard:
    """Make the agent card of a member. `NoCard` says why there is none: the member does not name a2a among its
    protocols, states no endpoint, description or version, or overrides a field by what it cannot be.

    Fields in ``custom["a2a"]``, under the names that they have in the card, take the place of those made from the
    entry: its local id, description, version and endpoint, and a skill for each capability. In ``capabilities`` they
    are added, but for extensions whose URI begins with ``urn:adsum:``: what these say is the registry's to say.

    >>> registration = registry.register(
    ...     "planner-1", protocols={"a2a"}, endpoint="http://127.0.0.1:9001", version="1.0",
    ...     description="Plans trips.", capabilities={"planning"}, custom={"a2a": {"capabilities": {"streaming": True}}}
    ... )
    >>> card = adsum.cards.agent_card(registry["planner-1"])
    >>> card.name, [skill.id for skill in card.skills], card.capabilities.streaming, card.supported_interfaces[0].url
    ('planner-1', ['planning'], True, 'http://127.0.0.1:9001')
    >>> adsum.cards.agent_card(registry.register("worker-1", protocols={"a2a"}).entry)
    NoCard(reason='it states no endpoint')
    """
    states = statement_of(entry, "a2a")
    if isinstance(states, NoCard):
        return states
    url = http_url(states.endpoint)
    if isinstance(url, NoCard) and "supportedInterfaces" not in states.override:
        return url
    try:
        fields = _own_fields(entry, states) | states.override
        fields |= {
            "supportedInterfaces": [_interface(one) for one in field(fields, "supportedInterfaces", _Mappings)],
            "skills": [_skill(one, fields) for one in field(fields, "skills", _Mappings)],
            "capabilities": _capabilities(entry, field(fields, "capabilities", dict[str, Any])),
        }
        card = msgspec.convert(fields, AgentCard)
    except msgspec.ValidationError as error:
        return NoCard(f"custom['a2a'] does not fit an agent card: {error}")
    return card if card.supported_interfaces else NoCard("custom['a2a'] leaves it no interface")


def _own_fields(entry: Entry, states: CardStatement) -> dict[str, Any]:
    """The fields that the entry itself gives."""
    return {
        **states.fields,
        "supportedInterfaces": [{"url": states.endpoint}],
        "defaultInputModes": _TEXT,
        "defaultOutputModes": _TEXT,
        "skills": [{"id": word, "tags": [word]} for word in sorted(entry.metadata.capabilities)],
        "capabilities": {},
    }


def _interface(given: dict[str, Any]) -> dict[str, Any]:
    return {"protocolBinding": BINDING, "protocolVersion": PROTOCOL_VERSION, **given}


def _skill(given: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """A skill with all fields that clients ask for."""
    named = {"id": given["id"], "name": given["id"]} if "id" in given else {}
    return {
        **named,
        "description": fields["description"],
        "tags": [],
        "inputModes": fields["defaultInputModes"],
        "outputModes": fields["defaultOutputModes"],
        **given,
    }


def _capabilities(entry: Entry, given: dict[str, Any]) -> dict[str, Any]:
    own = {"uri": LIVENESS_URI, "description": _LIVENESS_SAYS, "params": msgspec.to_builtins(liveness(entry))}
    own_words = field({"extensions": [], **given}, "extensions", _Mappings)
    # Clients take the first of a name: no other one may be before ours, nor behind it.
    return {**given, "extensions": [*(one for one in own_words if not is_forged(one)), own]}
