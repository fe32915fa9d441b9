"""Members as resources: ``adsum://agents`` for all of them, ``adsum://agents/{namespace}/{node}/{local_id}`` for one.

Each part of an id is percent-encoded, so a URI is plain ASCII whatever an id has in it, and three slashes divide it.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextResourceContents,
)

from ..errors import InvalidProcessId
from ..model import Entry, ProcessId
from .answers import NOTICE, Document, details, summary
from .arguments import MAX_PAGE
from .escaping import JsonText, cut, encode
from .paging import BadCursor, MemberPage, page

if TYPE_CHECKING:
    from .. import AsyncRegistry

ALL_AGENTS = "adsum://agents"
_TEMPLATE = ALL_AGENTS + "/{namespace}/{node}/{local_id}"
_JSON = "application/json"


def uri_of(process_id: ProcessId) -> str:
    """The URI of a member."""
    return "/".join((ALL_AGENTS, *(quote(part, safe="") for part in process_id)))


def id_in(uri: str) -> ProcessId | None:
    """The id in a URI of a member; None where it is no such URI."""
    parts = uri.removeprefix(f"{ALL_AGENTS}/").split("/")
    if not uri.startswith(f"{ALL_AGENTS}/") or len(parts) != 3 or not all(parts):
        return None
    namespace, node, local_id = (unquote(part, errors="replace") for part in parts)
    return ProcessId(namespace, node, local_id)


class Resources:
    """The members of one namespace as resources."""

    def __init__(self, registry: AsyncRegistry) -> None:
        self._registry = registry

    def list(self, cursor: str | None) -> ListResourcesResult:
        """A page of them; the first begins with the list of all."""
        shown = _page(self._registry.find(), cursor)
        members = [Resource(uri=uri, name=uri.removeprefix(f"{ALL_AGENTS}/"), mime_type=_JSON) for uri in shown.items]
        everything = Resource(
            uri=ALL_AGENTS, name="agents", title="Living agents", mime_type=_JSON, description="All of them, in short"
        )
        return ListResourcesResult(
            resources=members if cursor else [everything, *members], next_cursor=shown.next_cursor
        )

    def templates(self) -> ListResourceTemplatesResult:
        """The form of a member's URI."""
        template = ResourceTemplate(
            uri_template=_TEMPLATE,
            name="agent",
            title="One agent",
            description="All that is known of one living agent",
            mime_type=_JSON,
        )
        return ListResourceTemplatesResult(resource_templates=[template])

    def read(self, uri: str) -> ReadResourceResult:
        """What is known of one member, or of all in short. Errors: `MCPError` where there is no such member."""
        if uri == ALL_AGENTS:
            return _contents(uri, encode(self._all()))
        process_id = id_in(uri)
        entry = None
        if process_id is not None and process_id.namespace == self._registry.namespace:
            # No member has an impossible id.
            with contextlib.suppress(InvalidProcessId):
                entry = self._registry.lookup(process_id)
        if entry is None:
            what = encode(cut(uri, 600))
            raise MCPError(INVALID_PARAMS, f"no living agent is registered as {what}; resources/list has them all")
        agent = details(entry, frozenset({os.getpid()}))
        return _contents(uri, encode({"notice": NOTICE, "agent": agent}))

    def _all(self) -> Document:
        found = self._registry.find()
        shown = page(found, summary, MAX_PAGE, None)
        answer: Document = {"notice": NOTICE, "total": len(found), "agents": shown.items}
        if shown.next_cursor is not None:
            answer["next_cursor"] = shown.next_cursor
            answer["hint"] = "call list_agents with this cursor for more"
        return answer


def _contents(uri: str, text: JsonText) -> ReadResourceResult:
    return ReadResourceResult(contents=[TextResourceContents(uri=uri, mime_type=_JSON, text=str(text))])


def _page(entries: list[Entry], cursor: str | None) -> MemberPage[str]:
    try:
        return page(entries, lambda entry: uri_of(entry.process_id), MAX_PAGE, cursor)
    except BadCursor as error:
        raise MCPError(INVALID_PARAMS, str(error)) from error
