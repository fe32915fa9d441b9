"""The options that describe a program to be registered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from ..options import WHOLE, HealthWord, TypeWord, UsageError
from ..values import number_or_text


@Parameter(name="*")
@dataclass(frozen=True)
class MetadataOptions:
    """The metadata of a new entry."""

    capability: Annotated[
        tuple[str, ...],
        Parameter(
            name=("--capability", "-c"),
            negative=(),
            show_default=False,
            help="A capability of the program. Repeat the option for several.",
        ),
    ] = ()
    type: Annotated[TypeWord, Parameter(help="The type of the member.")] = "agent"
    health: Annotated[HealthWord, Parameter(help="The health status at the start.")] = "healthy"
    endpoint: Annotated[str | None, Parameter(help="URL or address at which the program is reached.")] = None
    description: Annotated[str, Parameter(metavar="TEXT", show_default=False, help="What the program is for.")] = ""
    version: Annotated[
        str, Parameter(metavar="TEXT", show_default=False, help="The version of the program. That of adsum: adsum -V.")
    ] = ""
    protocol: Annotated[
        tuple[str, ...],
        Parameter(
            negative=(),
            metavar="WORD",
            show_default=False,
            help="A protocol that the program speaks at its endpoint, such as a2a, mcp, http, grpc or unix. Repeat the "
            "option for several.",
        ),
    ] = ()
    doing: Annotated[
        str,
        Parameter(
            metavar="TEXT",
            show_default=False,
            help="What the program does at the moment, on one line. It changes it by Registry.update, a script by "
            "adsum update --doing.",
        ),
    ] = ""
    resource: Annotated[
        tuple[str, ...],
        Parameter(
            negative=(),
            metavar="NAME=VALUE",
            show_default=False,
            help="A resource of the program. A VALUE that reads as a number of at most 64 bits is stored as one. "
            "Repeat the option for several.",
        ),
    ] = ()

    heartbeat: Annotated[
        float | None,
        Parameter(
            metavar="SECONDS",
            help="Promise that the program sends a heartbeat within this time; without one its health becomes worse. "
            "It sends them itself, by Registry.heartbeat.",
        ),
    ] = None
    slots: Annotated[
        int | None, WHOLE, Parameter(help="How many claims it takes at a time, 1 by default; see adsum claim.")
    ] = None
    custom: Annotated[
        str | None,
        Parameter(metavar="JSON", help="Data of its own, as a JSON object.", show_default=False),
    ] = None
    gauge: Annotated[
        tuple[str, ...],
        Parameter(
            negative=(),
            metavar="NAME=NUMBER",
            show_default=False,
            help="A gauge of the program with its first value, as in load=0. It sets the gauge by Registry.set_gauge, "
            "a script by adsum update --gauge. Repeat the option for several, at most 8.",
        ),
    ] = ()

    def fields(self) -> dict[str, Any]:
        """The keywords for `Registry.register`. Errors: `UsageError`."""
        fields: dict[str, Any] = {
            "capabilities": set(self.capability),
            "type": self.type,
            "endpoint": self.endpoint,
            "resources": _parse_resources(self.resource),
            # Without those that are empty, which a registrar of an earlier version does not know.
            **describing_fields(self.description or None, self.version or None, self.protocol, self.doing or None),
        }
        if self.heartbeat is not None:
            fields["heartbeat"] = self.heartbeat
        if self.slots is not None:
            fields["slots"] = self.slots
        if self.custom is not None:
            fields["custom"] = _parse_custom(self.custom)
        if self.gauge:
            fields["gauges"] = parse_gauges(self.gauge)
        if self.health != "healthy":
            # What every member begins with is no word of this command about the program.
            fields["health_status"] = self.health
        return fields


DEFAULT_METADATA = MetadataOptions()


def describing_fields(
    description: str | None, version: str | None, protocols: Sequence[str], doing: str | None
) -> dict[str, Any]:
    """The keywords for the texts and protocols that are given."""
    texts = {"description": description, "version": version, "doing": doing}
    fields: dict[str, Any] = {name: text for name, text in texts.items() if text is not None}
    return {**fields, "protocols": set(protocols)} if protocols else fields


def _parse_resources(words: Sequence[str]) -> dict[str, int | float | str]:
    resources: dict[str, int | float | str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise UsageError(f"--resource {word!r}: give NAME=VALUE, as in gpu=2")
        if name in resources:
            raise UsageError(f"--resource {word!r}: {name} is given twice; give each name once")
        resources[name] = number_or_text(value)
    return resources


def parse_gauges(words: Sequence[str]) -> dict[str, float]:
    """The values of ``--gauge`` by name. Errors: `UsageError`."""
    gauges: dict[str, float] = {}
    for word in words:
        name, equals, text = word.partition("=")
        value = number_or_text(text)
        if not (name and equals) or isinstance(value, str):
            raise UsageError(f"--gauge {word!r}: give NAME=NUMBER, as in load=0.5")
        if name in gauges:
            raise UsageError(f"--gauge {word!r}: {name} is given twice; give each name once")
        gauges[name] = value
    return gauges


def _parse_custom(text: str) -> dict[str, Any]:
    try:
        custom = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise UsageError(f"--custom {text!r} is no JSON: {error}") from error
    if not isinstance(custom, dict):
        raise UsageError(f'--custom {text!r}: give a JSON object, as in \'{{"model": "small"}}\'')
    return custom
