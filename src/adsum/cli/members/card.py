"""``adsum card`` and ``adsum catalog``: members as other protocols describe them."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter

from ... import Registry, cards
from ...cards import AgentCard, NoCard, ServerCard
from ...errors import NotRegistered
from ...model import Entry
from ...views import words
from .. import NOT_FOUND
from ..absence import check_registry, hint
from ..notes import note
from ..options import DEFAULT_REGISTRY, Id, Json, RegistryOptions, UsageError
from ..output import render

Protocol: TypeAlias = Literal["a2a", "mcp"]
Publisher: TypeAlias = Annotated[
    str, Parameter(help="Domain of the organisation that publishes. Default: agent.localhost.", show_default=False)
]
_LOCAL = cards.Site().publisher


def card(
    id: Id,
    /,
    *,
    protocol: Annotated[
        Protocol | None, Parameter(help="Which card. Default: that of A2A, else that of MCP.", show_default=False)
    ] = None,
    publisher: Publisher = _LOCAL,
    json: Json = False,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """Show the card of one living member: its A2A agent card, or its MCP server card.

    ```console
    $ adsum card planner --json
    ```

    A member has a card if its protocols name a2a or mcp, and it states an endpoint, a description and a version.
    custom.a2a and custom.mcp override fields. --json prints the card as its protocol has it. Exit code 1 where no
    living member is registered under ID, or it has no card; then standard error says what is missing.
    """
    site = _site("", publisher)
    with options.open() as registry:
        process_id = options.parse_id(id, registry)
        entry = registry.lookup(process_id)
        if entry is None:
            raise NotRegistered(
                f"{process_id} is not registered (or its process has died); adsum ls lists the members"
                + hint(process_id, registry, options)
            )
        made = _card_of(entry, protocol or _first_protocol(entry), site.publisher)
        if isinstance(made, NoCard):
            note(f"{process_id} has no card: {made.reason}; adsum update changes an entry", options)
            return NOT_FOUND
        if json:
            render.print_json(made)
        else:
            render.print_pairs(_pairs(made, entry))
    return 0


def catalog(
    *,
    format: Annotated[
        Literal["ai-catalog", "ard"], Parameter(help="Which document --json prints.", show_default=True)
    ] = "ai-catalog",
    base_url: Annotated[
        str,
        Parameter(
            help="URL under which the cards are served. Without it they are in the document.",
            metavar="URL",
            show_default=False,
        ),
    ] = "",
    publisher: Publisher = _LOCAL,
    json: Json = False,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """List the cards of a namespace, and the members that name a protocol and have no card.

    ```console
    $ adsum catalog
    $ adsum catalog --json --publisher example.com > ai-catalog.json
    ```

    --json prints an AI Catalog (version 0.9), or with --format ard a manifest of Agentic Resource Discovery. Both list
    living members alone, as of now. Exit code 1 where there is no registry.
    """
    site = _site(base_url, publisher)
    with options.open() as registry:
        exists = check_registry(registry, options)
        if json:
            render.print_json((cards.catalog if format == "ai-catalog" else cards.manifest)(registry, site))
        else:
            _print_cards(registry, site, options)
    return 0 if exists else NOT_FOUND


def _site(base_url: str, publisher: str) -> cards.Site:
    try:
        return cards.Site(base_url, publisher)
    except ValueError as error:
        raise UsageError(f"--{str(error).replace('base_url', 'base-url')}") from error


def _first_protocol(entry: Entry) -> Protocol:
    return "mcp" if "mcp" in entry.metadata.protocols and "a2a" not in entry.metadata.protocols else "a2a"


def _card_of(entry: Entry, protocol: Protocol, publisher: str) -> AgentCard | ServerCard | NoCard:
    return cards.agent_card(entry) if protocol == "a2a" else cards.server_card(entry, publisher)


def _pairs(card: AgentCard | ServerCard, entry: Entry) -> dict[str, str]:
    common = {
        "name": card.name,
        "description": card.description,
        "version": card.version,
        "health": words.health(entry, always_by=True),
        "doing": entry.metadata.doing,
    }
    if isinstance(card, ServerCard):
        return {"protocol": "mcp", **common, "addresses": ", ".join(f"{one.url} ({one.type})" for one in card.remotes)}
    addresses = (f"{one.url} ({one.protocol_binding} {one.protocol_version})" for one in card.supported_interfaces)
    return {
        "protocol": "a2a",
        **common,
        "addresses": ", ".join(addresses),
        "skills": ", ".join(skill.id for skill in card.skills),
    }


def _print_cards(registry: Registry, site: cards.Site, options: RegistryOptions) -> None:
    rows = []
    for entry, kind, card in cards.cards_in(registry, site.publisher):
        has_card = not isinstance(card, NoCard)
        name = cards.identifier(entry.process_id, kind, site.publisher) if has_card else ""
        why = card.reason if isinstance(card, NoCard) else ""
        rows.append([render.printable_id(options.show_id(entry.process_id, registry)), kind, name, why])
    if rows:
        render.print_table(("id", "protocol", "identifier", "no card, because"), rows)
