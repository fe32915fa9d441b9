"""What a member says about itself for a protocol, and why it has no card where it has none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar
from urllib.parse import urlsplit

import msgspec

from ..model import Entry

Kind: TypeAlias = Literal["a2a", "mcp"]
KINDS: tuple[Kind, ...] = ("a2a", "mcp")
T = TypeVar("T")
MEDIA_TYPES: Mapping[Kind, str] = {
    "a2a": "application/a2a-agent-card+json",
    "mcp": "application/mcp-server-card+json",
}
# What cards say about the life and the health of a member is an extension of this name.
LIVENESS_URI = "urn:adsum:liveness:1"
# Every name of an extension that begins so is adsum's. Upper and lower case are the same there (RFC 8141, 3.1).
_OWN_URIS = "urn:adsum:"


class NoCard(msgspec.Struct, frozen=True):
    """A member has no card of a kind, for this `reason`."""

    reason: str


class CardStatement(NamedTuple):
    """What a member states for a card of a kind, its overriding fields included."""

    endpoint: str
    fields: dict[str, Any]
    override: dict[str, Any]


class Liveness(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """How a member is, as of its entry. Only living members have a card.

    - `id`: its process id; `registered_at`, `incarnation` and `revision` are those of its entry.
    - `alive`: the kernel has not ended its process.
    - `health`, `health_source`: how well it is, and which process says so; see `adsum.HealthStatus`. There is no source
      where no process has said it yet, as it is when a member is registered.
    - `doing`: what it does at the moment, in its own words.
    - `host`: the host of the cluster that it is on, where that is another one than this.
    """

    id: str
    alive: bool
    health: str
    health_source: str | None = None
    registered_at: datetime
    incarnation: int
    revision: int
    doing: str = ""
    host: str = ""


def liveness(entry: Entry) -> Liveness:
    """The liveness of a member."""
    return Liveness(
        id=str(entry.process_id),
        alive=True,
        health=entry.metadata.health_status.value,
        health_source=_source(entry),
        registered_at=entry.registered_at,
        incarnation=entry.incarnation,
        revision=entry.revision,
        doing=entry.metadata.doing,
        host=entry.host,
    )


def _source(entry: Entry) -> str | None:
    return None if entry.health_said_by is None else entry.health_said_by.value


def etag(entry: Entry) -> str:
    """A strong entity tag of a member's cards (RFC 9110). It is the revision, with what else they depend on: the
    registration, since a registry that is made anew counts from the beginning, and the health with its source, since
    neither a heartbeat nor, while no registrar runs, a missed one is a change of the entry."""
    stamp = int(entry.registered_at.timestamp() * 1e6)
    return f'"{entry.revision}-{entry.metadata.health_status.value}-{_source(entry) or "unsaid"}-{stamp:x}"'


def statement_of(entry: Entry, kind: Kind) -> CardStatement | NoCard:
    """What a member states for a card. `fields` are name, description and version."""
    metadata, override = entry.metadata, own_data(entry, kind)
    if isinstance(override, NoCard):
        return override
    if kind not in metadata.protocols:
        return NoCard(f"its protocols do not name {kind}")
    if not metadata.endpoint:
        return NoCard("it states no endpoint")
    fields = {
        "name": entry.process_id.local_id,
        "description": metadata.description,
        "version": metadata.version,
    }
    fields |= {name: override[name] for name in fields if name in override}
    for name in ("description", "version"):
        if not fields[name]:
            return NoCard(f"it states no {name}")
    return CardStatement(metadata.endpoint, fields, override)


def http_url(endpoint: str) -> str | NoCard:
    """The endpoint, which a client of a card must be able to reach over HTTP."""
    try:
        parts = urlsplit(endpoint)
        if parts.scheme in ("http", "https") and parts.hostname and not any(char.isspace() for char in endpoint):
            return endpoint
    except ValueError:
        # An address in brackets that is none.
        return NoCard(f"its endpoint {endpoint!r} is no URL")
    return NoCard(f"its endpoint {endpoint!r} is no URL of http or https")


def own_data(entry: Entry, name: str) -> dict[str, Any] | NoCard:
    """The mapping `custom[name]` as plain data that may be changed; empty where there is none."""
    value = entry.metadata.custom.get(name, {})
    if not isinstance(value, Mapping):
        return NoCard(f"custom[{name!r}] is no mapping")
    # As JSON has it: bytes as base64.
    plain: dict[str, Any] = msgspec.to_builtins(value)
    return plain


def is_forged(extension: object) -> bool:
    """Whether an extension that a member states has a name of adsum's, which alone says how members are."""
    uri = extension.get("uri") if isinstance(extension, Mapping) else None
    return isinstance(uri, str) and uri.strip().lower().startswith(_OWN_URIS)


def field(fields: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """A field of a card that is worked on before the card is made. Errors: `msgspec.ValidationError`, with its name."""
    try:
        return msgspec.convert(fields[name], kind)
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(f"{name}: {error}") from error
