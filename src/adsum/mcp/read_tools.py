"""The tools that read: `search_agents`, `list_agents`, `get_agents`, `wait_for_agent`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import InvalidProcessId, Timeout
from ..model import Entry, ProcessId
from .answers import MAX_ANSWER, NOTICE, Document, details, summary
from .arguments import GetArguments, ListArguments, SearchArguments, WaitArguments
from .escaping import JsonText, cut
from .failures import ToolError
from .paging import page

if TYPE_CHECKING:
    from .. import AsyncRegistry

# Waits at a time, of all clients together. Each holds two descriptors.
MAX_WAITS = 64
# Characters of an impossible id, and of what is wrong with it.
_ECHO = 200
# Each word is a search of its own.
MAX_WORDS = 12


class ReadTools:
    """Finds and awaits the members of one namespace."""

    def __init__(self, registry: AsyncRegistry) -> None:
        self._registry = registry
        self._waits = 0

    def meanings(self, text: str) -> list[ProcessId]:
        """What an id that a client gave may mean: one as answers have it, ``namespace/node/local_id``, where it begins
        with the namespace of this server, and in any case a local id, which may have slashes too."""
        namespace, node = self._registry.namespace, self._registry.node
        local = ProcessId(namespace, node, text)
        is_whole = text.count("/") >= 2 and text.partition("/")[0] == namespace
        return [ProcessId(*text.split("/", 2)), local] if is_whole else [local]

    def _may_be_elsewhere(self, text: str) -> bool:
        """Whether an id may be a whole one of another namespace."""
        return text.count("/") >= 2 and len(self.meanings(text)) == 1

    def parse_id(self, text: str) -> ProcessId:
        """The id that a client gave: the meaning that a living agent has, else the first. Errors: `InvalidProcessId`
        where no agent can have it."""
        meanings = self.meanings(text)
        problem = None
        for process_id in meanings:
            try:
                if self._registry.lookup(process_id) is not None:
                    return process_id
            except InvalidProcessId as error:
                problem = problem or error
        if problem is not None:
            raise problem
        return meanings[0]

    async def search(self, given: SearchArguments) -> Document:
        """The agents in whose text each of the words occurs."""
        words = given.text.split()
        if len(words) > MAX_WORDS:
            raise ToolError("invalid_query", f"text: {len(words)} words; give at most {MAX_WORDS}, the rarest ones")
        found = self._registry.find(text=words[0]) if words else self._registry.find()
        for word in words[1:]:
            ids = {entry.process_id for entry in self._registry.find(text=word)}
            found = [entry for entry in found if entry.process_id in ids]
        return self._listed(found, given.limit, given.cursor)

    async def list(self, given: ListArguments) -> Document:
        """The agents that meet the conditions, sorted by id."""
        found = self._registry.find(capability=given.capability, type=given.type, health_status=given.health)
        return self._listed(found, given.limit, given.cursor)

    async def get(self, given: GetArguments) -> Document:
        """All that is known of some agents."""
        agents: list[JsonText] = []
        absent: list[str] = []
        impossible: list[Document] = []
        left_out: list[str] = []
        size = 0
        for id in dict.fromkeys(given.ids):
            try:
                entry = self._registry.lookup(self.parse_id(id))
            except InvalidProcessId as error:
                impossible.append({"id": cut(id, _ECHO), "message": cut(str(error), _ECHO)})
                continue
            if entry is None:
                absent.append(id)
                continue
            document = details(entry, frozenset({os.getpid()}))
            size += len(document)
            if agents and size > MAX_ANSWER:
                left_out.append(id)
            else:
                agents.append(document)
        answer: Document = {"notice": NOTICE, "agents": agents}
        if absent:
            answer["not_registered"] = absent
            if any(self._may_be_elsewhere(id) for id in absent):
                answer["hint"] = f"this server serves the namespace {self._registry.namespace} alone"
        if impossible:
            answer["impossible"] = impossible
        if left_out:
            answer["left_out"] = left_out
            answer["hint"] = "the answer would have been too long; ask for those left out again"
        return answer

    async def wait(self, given: WaitArguments) -> Document:
        """Wait until an agent, or a number of them, is there; or until one has ended."""
        if self._waits >= MAX_WAITS:
            raise ToolError("system_busy", f"{MAX_WAITS} waits are under way already; end one first, or try again")
        self._waits += 1
        try:
            return await (self._wait_until_gone(given) if given.gone else self._wait_until_there(given))
        except Timeout:
            return {"done": False, "hint": f"not within {given.timeout_seconds:g} s; call again to wait on"}
        finally:
            self._waits -= 1

    async def _wait_until_gone(self, given: WaitArguments) -> Document:
        if given.id is None:
            raise ToolError("invalid_arguments", "gone: give the id of the agent whose end you wait for")
        last = await self._registry.wait_until_gone(self.parse_id(given.id), given.timeout_seconds)
        if last is None:
            return {"done": True, "hint": "no living agent had this id when the wait began"}
        return {"done": True, "notice": NOTICE, "last_seen": summary(last)}

    async def _wait_until_there(self, given: WaitArguments) -> Document:
        registry, timeout = self._registry, given.timeout_seconds
        if given.id is not None:
            entry = await registry.wait_for(
                self.parse_id(given.id),
                timeout,
                capability=given.capability,
                type=given.type,
                health_status=given.health,
            )
            found = [entry]
        else:
            found = await registry.wait_for(
                count=given.count,
                timeout=timeout,
                capability=given.capability,
                type=given.type,
                health_status=given.health,
            )
        # The first of them, in any case: a cursor would be one of list_agents.
        return {"done": True, "notice": NOTICE, "agents": page(found, summary, given.count, None).items}

    def _listed(self, found: Sequence[Entry], limit: int, cursor: str | None) -> Document:
        shown = page(found, summary, limit, cursor)
        answer: Document = {"notice": NOTICE, "total": len(found), "agents": shown.items}
        if shown.next_cursor is not None:
            answer["next_cursor"] = shown.next_cursor
        if not found and not self._registry.folder.exists():
            answer["hint"] = f"there is no registry in {self._registry.folder} yet: no agent has registered"
        return answer
