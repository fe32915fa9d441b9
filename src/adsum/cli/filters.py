"""The options that select members, for several commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from .. import Conditions
from .options import HealthWord, RegistryOptions, TypeWord, complete_capability


@Parameter(name="*")
@dataclass(frozen=True)
class Filter:
    """Conditions on members. All of them must hold."""

    capability: Annotated[
        tuple[str, ...],
        Parameter(
            name=("--capability", "-c"),
            negative=(),
            help="Only members with this capability. Repeat the option to require several.",
            show_default=False,
            completer=complete_capability,
        ),
    ] = ()
    type: Annotated[TypeWord | None, Parameter(help="Only members of this type.")] = None
    health: Annotated[HealthWord | None, Parameter(help="Only members with this health status.")] = None

    def conditions(self, options: RegistryOptions) -> Conditions:
        """The keywords for `Registry.find`. With --node, only members on that node match."""
        return {
            "capability": set(self.capability) or None,
            "type": self.type,
            "health_status": self.health,
            "node": options.node,
        }

    def __bool__(self) -> bool:
        return bool(self.capability or self.type or self.health)


NO_FILTER = Filter()
