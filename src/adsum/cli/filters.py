"""The options that select members, for several commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from .. import ALL, Conditions
from ..errors import InvalidQuery
from ..views.where import Expression, parse_where
from .options import FLAG, WHOLE, HealthWord, RegistryOptions, TypeWord, UsageError, complete_capability


@Parameter(name="*")
@dataclass(frozen=True)
class MemberConditions:
    """Conditions on a member that any command can ask for. All of them must hold."""

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
    any_capability: Annotated[
        tuple[str, ...],
        Parameter(
            negative=(),
            help="Only members with this capability or another one that is given so. Repeat the option.",
            show_default=False,
            completer=complete_capability,
        ),
    ] = ()
    not_capability: Annotated[
        tuple[str, ...],
        Parameter(
            negative=(),
            help="Only members without this capability. Repeat the option for several.",
            show_default=False,
            completer=complete_capability,
        ),
    ] = ()
    type: Annotated[TypeWord | None, Parameter(help="Only members of this type.")] = None
    id_prefix: Annotated[
        str | None, Parameter(metavar="TEXT", help="Only members whose local id begins with this.")
    ] = None
    text: Annotated[
        str | None,
        Parameter(
            help="Only members with this text in their local id, their description, a capability or what they are "
            "doing, in upper or lower case."
        ),
    ] = None

    def conditions(self, options: RegistryOptions) -> Conditions:
        """The keywords for a search. With --node, only members on that node match."""
        return {
            "capability": set(self.capability) or None,
            "type": self.type,
            "node": options.node,
            "any_capability": set(self.any_capability) or None,
            "not_capability": set(self.not_capability) or None,
            "id_prefix": self.id_prefix,
            "text": self.text,
        }

    def __bool__(self) -> bool:
        return self != type(self)()


@Parameter(name="*")
@dataclass(frozen=True)
class Filter(MemberConditions):
    """Conditions on members. All of them must hold."""

    health: Annotated[HealthWord | None, Parameter(help="Only members with this health status.")] = None
    where: Annotated[
        tuple[str, ...],
        Parameter(
            negative=(),
            metavar="CONDITIONS",
            help="Only members whose resources or custom data meet these conditions, as in 'tokens>=1000 model=x'. "
            "Signs: = != >= <= > <. A name is looked up in both; custom.NAME, also custom.NAME.NAME for a mapping "
            "inside, and resources.NAME in one of them. description, version, doing and protocols are those of the "
            "member, too: 'version=1.2 protocols=mcp'.",
            show_default=False,
        ),
    ] = ()
    pid: Annotated[int | None, WHOLE, Parameter(help="Only members that this process owns.")] = None
    hosts: Annotated[
        Literal["here"] | None, Parameter(help="here: only members of this host, none of others in the cluster.")
    ] = None
    all_namespaces: Annotated[
        bool, FLAG, Parameter(name=("--all-namespaces", "-A"), help="Members of all namespaces.")
    ] = False

    def conditions(self, options: RegistryOptions) -> Conditions:
        """The keywords for `Registry.find`. With --node, only members on that node match. Errors: `UsageError`."""
        if self.all_namespaces and options.namespace is not None:
            raise UsageError("give --namespace or --all-namespaces, not both")
        return {
            **super().conditions(options),
            "health_status": self.health,
            "namespace": ALL if self.all_namespaces else None,
            "pid": self.pid,
            "hosts": self.hosts,
        }

    @property
    def expression(self) -> Expression | None:
        """What --where asks for, for the `where` of `Registry.find`. Errors: `UsageError`."""
        try:
            return parse_where(self.where)
        except InvalidQuery as error:
            raise UsageError(f"--where {error}") from error


NO_FILTER = Filter()
