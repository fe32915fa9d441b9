"""The conditions that several commands take: of whom they speak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from .. import Conditions
from .options import HealthWord, RegistryOptions, TypeWord, complete_capability


@Parameter(name="*")
@dataclass(frozen=True)
class Filter:
    """What must hold of a member, all of it together."""

    capability: Annotated[
        tuple[str, ...],
        Parameter(
            name=("--capability", "-c"),
            negative=(),
            help="Only who can do this; given again, who can do all of them.",
            show_default=False,
            completer=complete_capability,
        ),
    ] = ()
    type: Annotated[TypeWord | None, Parameter(help="Only who plays this part.")] = None
    health: Annotated[HealthWord | None, Parameter(help="Only whose health is this.")] = None

    def conditions(self, options: RegistryOptions) -> Conditions:
        """As the registry takes them. With --node, only members on that node count."""
        return {
            "capability": set(self.capability) or None,
            "type": self.type,
            "health_status": self.health,
            "node": options.node,
        }

    def __bool__(self) -> bool:
        return bool(self.capability or self.type or self.health)


NO_FILTER = Filter()
