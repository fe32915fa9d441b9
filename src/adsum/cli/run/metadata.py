"""The options that describe a program to be registered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from ..options import HealthWord, TypeWord, UsageError
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

    def fields(self) -> dict[str, Any]:
        """The keywords for `Registry.register`. Errors: `UsageError`."""
        fields: dict[str, Any] = {
            "capabilities": set(self.capability),
            "type": self.type,
            "endpoint": self.endpoint,
            "resources": _parse_resources(self.resource),
        }
        if self.health != "healthy":
            # What every member begins with is no word of this command about the program.
            fields["health_status"] = self.health
        return fields


DEFAULT_METADATA = MetadataOptions()


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
