"""The arguments and options that several commands have: the registry, an id, a timeout, the form of the answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from cyclopts import Group, Parameter

from .. import Registry, admin
from .. import open as open_registry
from ..errors import InvalidName
from ..model import ProcessId
from ..views.order import sorted_names

if TYPE_CHECKING:
    from cyclopts import Token
    from cyclopts.completion import CompletionContext

    from .. import AsyncRegistry


class UsageError(Exception):
    """The command line is wrong; the message says what to type instead."""


# Far above `Limits.registration_timeout`: on a busy machine, waiting is better for a user than typing again.
PATIENCE_SECONDS = 10.0

_REGISTRY = Group("Which registry", help="By default the registry 'default' of this user.", sort_key=10)


@Parameter(name="*", group=_REGISTRY)
@dataclass(frozen=True)
class RegistryOptions:
    """The registry that a command uses, and the namespace and node that complete a local id."""

    name: Annotated[
        str | None,
        Parameter(name=("--name", "-r"), metavar="NAME", help="Name of the registry. Default: 'default'."),
    ] = None
    path: Annotated[Path | None, Parameter(help="Folder of the registry, instead of a name.")] = None
    namespace: Annotated[str | None, Parameter(help="Namespace. Default: 'default'.")] = None
    node: Annotated[str | None, Parameter(help="Node. Default: $ADSUM_NODE, or the registry's own.")] = None

    def open(self, *, joins: bool = True) -> Registry:
        """Open the registry, with the timeout of a command. With `joins` it joins the cluster in ADSUM_CLUSTER, if that
        is set, and its bridge is started. Errors: `UsageError`, and those of `adsum.open`."""
        self.check()
        return open_registry(
            "default" if self.name is None else self.name,
            path=self.path,
            namespace="default" if self.namespace is None else self.namespace,
            node=self.node,
            timeout=PATIENCE_SECONDS,
            cluster=None if joins else "",
        )

    def open_async(self) -> AsyncRegistry:
        """Open the registry for asyncio, as `open` does. Errors: as there."""
        # Imported late: it brings asyncio, which most commands do not need.
        from .. import open_async

        self.check()
        return open_async(
            "default" if self.name is None else self.name,
            path=self.path,
            namespace="default" if self.namespace is None else self.namespace,
            node=self.node,
            timeout=PATIENCE_SECONDS,
        )

    def folder(self) -> Path:
        """The registry's folder, which may not exist yet. Errors: `UsageError`; `InvalidName` where it holds other
        things; `PermissionDenied`."""
        folder = self.check()
        admin.check_folder(folder)
        return folder

    def check(self) -> Path:
        """The folder that the options name, whatever is there. Errors: `UsageError` where they can name none."""
        if self.name is not None and self.path is not None:
            raise UsageError("give --name or --path, not both")
        if self.path == Path():
            raise UsageError("--path: give the path of a folder of its own, not '' or '.'")
        try:
            return admin.registry_folder("default" if self.name is None else self.name, self.path)
        except InvalidName as error:
            raise UsageError(str(error)) from error

    def parse_id(self, text: str, registry: Registry) -> ProcessId:
        """The id that a user typed: ``local``, or ``namespace/node/local`` as `str(ProcessId)` writes it.

        Text with fewer than two slashes is a local id, and so is every text where --namespace or --node is given.
        Other text is split at its first two slashes.
        """
        if self._completes or text.count("/") < 2:
            return admin.complete_id(text, registry.namespace, registry.node)
        namespace, node, local_id = text.split("/", 2)
        return admin.complete_id(ProcessId(namespace, node, local_id), namespace, node)

    def show_id(self, process_id: ProcessId, registry: Registry) -> str:
        """An id in the shortest form from which `parse_id` makes the same id."""
        namespace, node, local_id = process_id
        is_local = (namespace, node) == (registry.namespace, registry.node)
        return local_id if is_local and (self._completes or local_id.count("/") < 2) else str(process_id)

    @property
    def _completes(self) -> bool:
        return self.namespace is not None or self.node is not None


DEFAULT_REGISTRY = RegistryOptions()


def _whole_number(_: object, tokens: Sequence[Token]) -> int:
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


# An option without a value, and without a negative form.
FLAG = Parameter(negative=(), show_default=False)
# Cyclopts itself would round a fraction.
WHOLE = Parameter(converter=_whole_number)


def _registry_options(context: CompletionContext) -> RegistryOptions:
    def typed(option: str) -> str | None:
        value = context.get(option)
        return str(value.value) if value is not None and value.value is not None else None

    path = typed("--path")
    return RegistryOptions(typed("--name"), Path(path) if path else None, typed("--namespace"), typed("--node"))


def complete_id(context: CompletionContext) -> Iterable[tuple[str, str]]:
    """The ids of living members, for completion in the shell."""
    options = _registry_options(context)
    with options.open() as registry:
        for entry in registry.find(node=options.node):
            description = ", ".join(sorted_names(entry.metadata.capabilities)) or entry.metadata.type
            yield options.show_id(entry.process_id, registry), description


def complete_capability(context: CompletionContext) -> Iterable[str]:
    """The capabilities of living members, for completion in the shell."""
    with _registry_options(context).open() as registry:
        return sorted_names({capability for entry in registry.find() for capability in entry.metadata.capabilities})


TypeWord: TypeAlias = Literal["agent", "service", "coordinator", "resource_manager"]
HealthWord: TypeAlias = Literal["healthy", "degraded", "unhealthy"]

Id: TypeAlias = Annotated[
    str,
    Parameter(
        help="A local id, or namespace/node/local_id. An ID with two slashes or more is read as the latter, unless "
        "--namespace or --node is given.",
        completer=complete_id,
    ),
]
OptionalId: TypeAlias = Annotated[
    str | None, Parameter(help="A local id, or namespace/node/local_id.", completer=complete_id)
]
Everywhere: TypeAlias = Annotated[
    bool, FLAG, Parameter(help="Hold the name in the whole cluster: no other member of any host has it meanwhile.")
]
Unreachable: TypeAlias = Annotated[
    bool,
    FLAG,
    Parameter(help="Also members of hosts that cannot be reached now. Nothing says whether they are alive."),
]
Json: TypeAlias = Annotated[bool, FLAG, Parameter(help="Print one JSON document.")]
JsonLines: TypeAlias = Annotated[bool, FLAG, Parameter(help="Print one JSON document per line.")]
Timeout: TypeAlias = Annotated[
    float, Parameter(help="How long to wait for the registrar, including its start.", metavar="SECONDS")
]


def check_timeout(seconds: float) -> float:
    """The timeout, if it is a possible one. Errors: `UsageError`."""
    if not 0 < seconds < 1e6:
        raise UsageError(f"--timeout {seconds:g}: give a number of seconds above 0")
    return seconds
