"""What the tools are called with. The JSON schemas that clients get are made of these records, and so is the check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

A = TypeVar("A", bound="Arguments")

MAX_PAGE = 100
MAX_IDS = 20
MAX_WAIT_SECONDS = 600.0

_ID = "An id as an answer gave it, or its last part, the local id."
Id = Annotated[str, Meta(min_length=1, max_length=600, description=_ID)]
_Word = Annotated[str, Meta(min_length=1, max_length=255)]
_Capabilities = Annotated[tuple[_Word, ...], Meta(max_length=64)]
Type = Literal["agent", "service", "coordinator", "resource_manager"]
Health = Literal["healthy", "degraded", "unhealthy"]
_Limit = Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many agents at most.")]
_Line = Annotated[str, Meta(max_length=200)]
_Cursor = Annotated[str | None, Meta(description="next_cursor of the page before; leave it out for the first page.")]
_Pid = Annotated[int, Meta(gt=0, lt=2**31)]


class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The arguments of one tool."""


class SearchArguments(Arguments, frozen=True, forbid_unknown_fields=True, kw_only=True):
    text: Annotated[
        str,
        Meta(
            max_length=200,
            description="Words, of which each must be a part of the id, the description, a capability, or of what the "
            "agent is doing. Upper and lower case are the same.",
        ),
    ]
    limit: _Limit = 10
    cursor: _Cursor = None


class ListArguments(Arguments, frozen=True, forbid_unknown_fields=True, kw_only=True):
    capability: Annotated[_Word | None, Meta(description="Only agents that have this capability.")] = None
    type: Annotated[Type | None, Meta(description="Only agents of this role.")] = None
    health: Annotated[Health | None, Meta(description="Only agents with this health status.")] = None
    limit: _Limit = 20
    cursor: _Cursor = None


class GetArguments(Arguments, frozen=True, forbid_unknown_fields=True, kw_only=True):
    # Of any length: one impossible id among others is said in the answer.
    ids: Annotated[tuple[Annotated[str, Meta(description=_ID)], ...], Meta(min_length=1, max_length=MAX_IDS)]


class WaitArguments(Arguments, frozen=True, forbid_unknown_fields=True, kw_only=True):
    id: Annotated[Id | None, Meta(description="The agent to wait for. Leave it out to wait for any that match.")] = None
    gone: Annotated[bool, Meta(description="Wait until the agent with this id has ended instead.")] = False
    capability: Annotated[_Word | None, Meta(description="Wait for agents that have this capability.")] = None
    type: Type | None = None
    health: Health | None = None
    count: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many agents, where no id is given.")] = 1
    timeout_seconds: Annotated[float, Meta(ge=0, le=MAX_WAIT_SECONDS)] = 30.0


class ClaimArguments(Arguments, frozen=True, forbid_unknown_fields=True, kw_only=True):
    id: Annotated[Id | None, Meta(description="The agent to claim. Leave it out to have one chosen.")] = None
    capability: Annotated[_Word | None, Meta(description="Choose among agents that have this capability.")] = None
    type: Type | None = None
    timeout_seconds: Annotated[
        float, Meta(ge=0, le=MAX_WAIT_SECONDS, description="How long to wait for a free slot; 0 only tries.")
    ] = 10.0
    pid: Annotated[
        _Pid | None,
        Meta(description="The process that holds the claim, which ends with it. Needed over HTTP; else your session."),
    ] = None


class ReleaseArguments(Arguments, frozen=True, forbid_unknown_fields=True, kw_only=True):
    claim: Annotated[str, Meta(max_length=40, description="The claim, as claim_agent answered it.")]


class RegisterArguments(Arguments, frozen=True, forbid_unknown_fields=True, kw_only=True):
    id: Annotated[str, Meta(min_length=1, max_length=255, description="The local id, a name that no other agent has.")]
    description: Annotated[str, Meta(max_length=1000, description="What you are for, in a sentence.")] = ""
    doing: Annotated[_Line, Meta(description="What you are doing now, in one line.")] = ""
    capabilities: Annotated[_Capabilities, Meta(description="Words for what you can do.")] = ()
    version: Annotated[str, Meta(max_length=128)] = ""
    type: Type = "agent"
    pid: Annotated[
        _Pid | None,
        Meta(
            description="The process on this machine with which the entry ends. Needed over HTTP; else it is the "
            "one that started this server."
        ),
    ] = None


class StatusArguments(Arguments, frozen=True, forbid_unknown_fields=True, kw_only=True):
    id: Annotated[
        Id | None, Meta(description="The agent, registered through this server. Needed where that is not one alone.")
    ] = None
    health: Health | None = None
    doing: Annotated[_Line | None, Meta(description="What you are doing now, in one line; empty for nothing.")] = None


def schema(kind: type[Arguments]) -> dict[str, Any]:
    """The JSON schema of the arguments, an object without references (JSON Schema 2020-12)."""
    (_,), components = msgspec.json.schema_components([kind])
    found: dict[str, Any] = components[kind.__name__]
    found.pop("title", None)
    return found


def parse(kind: type[A], given: Mapping[str, object] | None) -> A:
    """The checked arguments. Errors: `ValueError`, which says what is wrong."""
    try:
        # Models write numbers as text now and then.
        return msgspec.convert({} if given is None else given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"arguments: {error}; see the input schema of the tool") from error
