"""The tools that write: `claim_agent`, `release`, `register_me`, `set_status`. Only with ``--allow-writes``.

A model may be talked into anything by the text that it reads. So these tools reach no entry but those that this server
registered, and no claim but those that it made; and the number of each is bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from ..errors import AlreadyRegistered, NotRegistered, Stale
from ..model import Entry, ProcessId
from .answers import NOTICE, Document, summary
from .arguments import ClaimArguments, RegisterArguments, ReleaseArguments, StatusArguments
from .clients import McpClient
from .failures import ToolError
from .read_tools import ReadTools

if TYPE_CHECKING:
    from .. import AsyncClaim, AsyncRegistry


class ClientMetadata(TypedDict, total=False):
    """What a client says about itself."""

    type: str
    capabilities: frozenset[str]
    description: str
    doing: str
    version: str


# Of all clients together.
MAX_CLAIMS = 64
MAX_ENTRIES = 64


class WriteTools:
    """Registers clients and claims members, for the clients of one server."""

    def __init__(self, registry: AsyncRegistry, read_tools: ReadTools, client: McpClient) -> None:
        self._registry = registry
        self._read_tools = read_tools
        self._client = client
        self._claims: dict[str, AsyncClaim] = {}
        # How many claims are on their way to `_claims`.
        self._claiming = 0
        # The entries that this server registered, by id: their incarnations.
        self._registered: dict[ProcessId, int] = {}

    async def claim(self, given: ClaimArguments) -> Document:
        """Reserve a slot of an agent."""
        await self._forget_ended_claims()
        if len(self._claims) + self._claiming >= MAX_CLAIMS:
            raise ToolError("too_many_claims", f"this server holds {MAX_CLAIMS} claims, or waits for them; release one")
        process = self._client.to_claim(given.pid)
        id = None if given.id is None else self._read_tools.parse_id(given.id)
        self._claiming += 1
        try:
            # Where the call is cancelled, the claim leaves the queue, and is released if it was granted at that moment.
            claim = await self._registry.claim(
                id, process, timeout=given.timeout_seconds, capability=given.capability, type=given.type
            )
        finally:
            self._claiming -= 1
        number = str(claim.number)
        self._claims[number] = claim
        held_by = "your session" if process is None else f"the process {process}"
        ends = f"release it; it also ends with {held_by}, and with the agent"
        return {"claim": number, "ends": ends, "notice": NOTICE, "agent": summary(claim.entry)}

    async def give_back(self, answer: Document) -> None:
        """Release a claim whose client has gone before it got the answer."""
        claim = self._claims.pop(str(answer["claim"]), None)
        if claim is not None:
            # It repeats the release where no registrar answers.
            await claim.__aexit__(None, None, None)

    async def release(self, given: ReleaseArguments) -> Document:
        """Give a claimed slot back."""
        claim = self._claims.get(given.claim)
        if claim is None:
            raise ToolError("unknown_claim", f"{given.claim}: this server holds no such claim; it may have ended")
        was_held = await claim.release()
        self._claims.pop(given.claim, None)
        return {"released": True} if was_held else {"released": False, "hint": "it had ended before, with the agent"}

    async def register(self, given: RegisterArguments) -> Document:
        """Register the client."""
        self._forget_ended_entries()
        if len(self._registered) >= MAX_ENTRIES:
            raise ToolError("too_many_entries", f"{MAX_ENTRIES} entries live that this server registered; no more")
        process = self._client.to_register(given.pid)
        fields = _fields(given)
        try:
            entry = (await self._registry.register(given.id, process, **fields)).entry
        except AlreadyRegistered as error:
            entry = error.entry
            # Two processes that live here have different pids: it is the client's own entry, of an earlier session.
            if entry.host or entry.pid != (process if isinstance(process, int) else process.pid):
                raise ToolError(
                    "already_registered", f"{given.id}: another living process ({entry.pid}) has this id; take another"
                ) from error
            entry = await self._registry.update(entry.process_id, if_incarnation=entry.incarnation, **fields)
        self._registered[entry.process_id] = entry.incarnation
        ends = f"the entry ends with the process {entry.pid}; say with set_status what you are doing"
        return {"registered": str(entry.process_id), "pid": entry.pid, "ends": ends}

    async def set_status(self, given: StatusArguments) -> Document:
        """Say how well the client is and what it is doing."""
        if given.health is None and given.doing is None:
            raise ToolError("invalid_arguments", "give health, doing or both")
        process_id = self._own_id(given.id)
        incarnation = self._registered[process_id]
        try:
            entry: Entry | None = None
            if given.health is not None:
                entry = await self._registry.update_health(process_id, given.health, if_incarnation=incarnation)
            if given.doing is not None:
                entry = await self._registry.update(process_id, doing=given.doing, if_incarnation=incarnation)
        except (NotRegistered, Stale) as error:
            self._registered.pop(process_id, None)
            raise ToolError(
                "not_registered", f"{process_id}: the entry has ended; register again with register_me"
            ) from error
        return {"notice": NOTICE, "agents": [] if entry is None else [summary(entry)]}

    def _own_id(self, text: str | None) -> ProcessId:
        """The id of an entry that this server registered; the only one, where none is named."""
        if text is not None:
            meanings = self._read_tools.meanings(text)
            for process_id in meanings:
                if process_id in self._registered:
                    return process_id
            raise ToolError("not_yours", f"{meanings[0]} was not registered through this server; register_me first")
        self._forget_ended_entries()
        if len(self._registered) != 1:
            how = "no entry was" if not self._registered else f"{len(self._registered)} entries were"
            raise ToolError("which_agent", f"{how} registered through this server; register_me first, and give its id")
        return next(iter(self._registered))

    def _forget_ended_entries(self) -> None:
        for process_id, incarnation in list(self._registered.items()):
            entry = self._registry.lookup(process_id)
            if entry is None or entry.incarnation != incarnation:
                del self._registered[process_id]

    async def _forget_ended_claims(self) -> None:
        for number, claim in list(self._claims.items()):
            entry = self._registry.lookup(claim.process_id)
            if entry is None or all(record.number != claim.number for record in entry.claims):
                await claim.release()
                self._claims.pop(number, None)


def _fields(given: RegisterArguments) -> ClientMetadata:
    """The metadata that was given."""
    fields = ClientMetadata(type=given.type)
    if given.capabilities:
        fields["capabilities"] = frozenset(given.capabilities)
    if given.description:
        fields["description"] = given.description
    if given.doing:
        fields["doing"] = given.doing
    if given.version:
        fields["version"] = given.version
    return fields
