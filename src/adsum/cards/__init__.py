"""Cards and catalogues: members as other protocols describe them.

A **card** is what a protocol wants to know about one agent or server before it connects: the agent card of A2A 1.0, the
server card of MCP. A **catalogue** lists what has a card: the AI Catalog 0.9, and the manifest of Agentic Resource
Discovery (ARD), which has a search besides. All of them are made from the entries of a registry at the moment of the
question, so none of them shows the dead.

    import adsum
    from adsum import cards

    registry = adsum.open()
    registry.register("planner-1", protocols={"a2a"}, endpoint="http://127.0.0.1:9001")
    registry.update("planner-1", description="Plans trips.", version="1.0")
    print(cards.encode(cards.agent_card(registry["planner-1"])))

A member has a card if it says so itself: its `protocols` name the protocol, and it states an endpoint, a description
and a version. Nothing is invented; `NoCard` says what is missing. `custom["a2a"]`, `custom["mcp"]` and `custom["ard"]`
override fields, in the words of the protocol.

`respond` answers HTTP requests, for any server: a value in, a value out. `CARD_PATHS` are the paths of a member's cards
by kind, below its own path; of a request's body more than `MAX_BODY_BYTES` need not be read.
"""

from __future__ import annotations

from .a2a import LIVENESS_URI as LIVENESS_URI
from .a2a import AgentCard as AgentCard
from .a2a import agent_card as agent_card
from .ai_catalog import CARD_PATHS as CARD_PATHS
from .ai_catalog import Catalog as Catalog
from .ai_catalog import catalog as catalog
from .ard import Manifest as Manifest
from .ard import manifest as manifest
from .collection import Card as Card
from .collection import cards_in as cards_in
from .identifiers import identifier as identifier
from .identifiers import process_id as process_id
from .mcp import ServerCard as ServerCard
from .mcp import server_card as server_card
from .messages import Request as Request
from .messages import Response as Response
from .messages import encode as encode
from .routes import MAX_BODY_BYTES as MAX_BODY_BYTES
from .routes import respond as respond
from .site import Site as Site
from .statement import NoCard as NoCard

__all__ = [
    "CARD_PATHS",
    "LIVENESS_URI",
    "MAX_BODY_BYTES",
    "AgentCard",
    "Card",
    "Catalog",
    "Manifest",
    "NoCard",
    "Request",
    "Response",
    "ServerCard",
    "Site",
    "agent_card",
    "cards_in",
    "catalog",
    "encode",
    "identifier",
    "manifest",
    "process_id",
    "respond",
    "server_card",
]
