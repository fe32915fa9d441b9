"""What several commands take: which registry, which id, how long to wait, how to answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from cyclopts import Group, Parameter

from .. import Registry, admin
from .. import open as open_registry
from ..model import Limits, ProcessId

if TYPE_CHECKING:
    from cyclopts import Token
    from cyclopts.completion import CompletionContext


class UsageError(Exception):
    """The command line asks for what cannot be; the message says what to type instead."""


# A person or a script would rather wait for a busy machine than type the command again.
PATIENCE_SECONDS = 10.0

_REGISTRY = Group(
    "Which registry", help="The default registry of this user, unless something else is said.", sort_key=10
)


@Parameter(name="*", group=_REGISTRY)
@dataclass(frozen=True)
class RegistryOptions:
    """The registry that a command is about, and what completes a local id to a whole one."""

    name: Annotated[
        str | None,
        Parameter(name=("--name", "-r"), metavar="NAME", help="The registry of that name; 'default' unless given."),
    ] = None
    path: Annotated[Path | None, Parameter(help="The registry in that folder, instead of a name.")] = None
    namespace: Annotated[str | None, Parameter(help="The namespace; 'default' unless given.")] = None
    node: Annotated[str | None, Parameter(help="The node; $ADSUM_NODE or the host name unless given.")] = None

    def open(self, limits: Limits | None = None) -> Registry:
        """The registry, with the patience of a command."""
        self._check()
        return open_registry(
            "default" if self.name is None else self.name,
            path=self.path,
            namespace="default" if self.namespace is None else self.namespace,
            node=self.node,
            timeout=PATIENCE_SECONDS,
            limits=limits,
        )

    def folder(self) -> Path:
        """The registry's folder, which may not exist yet. Errors: `UsageError`, `InvalidName`, `PermissionDenied`."""
        self._check()
        folder = admin.registry_folder("default" if self.name is None else self.name, self.path)
        admin.check_folder(folder)
        return folder

    def _check(self) -> None:
        if self.name is not None and self.path is not None:
            raise UsageError("give --name or --path, not both")
        if self.path == Path():
            raise UsageError("--path: give the path of a folder of its own, not '' or '.'")

    def parse_id(self, text: str, registry: Registry) -> ProcessId:
        """An id as typed: ``local``, or ``namespace/node/local`` as `str(ProcessId)` writes it.

        With fewer than two slashes it is a local id; so it is, whatever its slashes, where --namespace or --node is
        given. Otherwise it is cut at its first two.
        """
        if self._completes or text.count("/") < 2:
            return admin.complete_id(text, registry.namespace, registry.node)
        namespace, node, local_id = text.split("/", 2)
        return admin.complete_id(ProcessId(namespace, node, local_id), namespace, node)

    def show_id(self, process_id: ProcessId, registry: Registry) -> str:
        """An id in the shortest form that `parse_id` takes back."""
        namespace, node, local_id = process_id
        is_here = (namespace, node) == (registry.namespace, registry.node)
        return local_id if is_here and (self._completes or local_id.count("/") < 2) else str(process_id)

    @property
    def _completes(self) -> bool:
        return self.namespace is not None or self.node is not None


DEFAULT_REGISTRY = RegistryOptions()


def _whole_number(_: object, tokens: Sequence[Token]) -> int:
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is no whole number") from None


# Cyclopts itself rounds fractions.
WHOLE = Parameter(converter=_whole_number)


def _registry_options(context: CompletionContext) -> RegistryOptions:
    def typed(option: str) -> str | None:
        value = context.get(option)
        return str(value.value) if value is not None and value.value is not None else None

    path = typed("--path")
    return RegistryOptions(typed("--name"), Path(path) if path else None, typed("--namespace"), typed("--node"))


def complete_id(context: CompletionContext) -> Iterable[tuple[str, str]]:
    """The living ids, for the shell."""
    options = _registry_options(context)
    with options.open() as registry:
        for entry in registry.find(node=options.node):
            what = ", ".join(sorted(entry.metadata.capabilities)) or entry.metadata.type
            yield options.show_id(entry.process_id, registry), what


def complete_capability(context: CompletionContext) -> Iterable[str]:
    """The capabilities that somebody living has, for the shell."""
    with _registry_options(context).open() as registry:
        return sorted({capability for entry in registry.find() for capability in entry.metadata.capabilities})


TypeWord: TypeAlias = Literal["agent", "service", "coordinator", "resource_manager"]
HealthWord: TypeAlias = Literal["healthy", "degraded", "unhealthy"]

Id: TypeAlias = Annotated[
    str,
    Parameter(
        help="A local id, or namespace/node/local_id. What has two slashes or more is read as the latter, unless "
        "--namespace or --node is given.",
        completer=complete_id,
    ),
]
OptionalId: TypeAlias = Annotated[
    str | None, Parameter(help="A local id, or namespace/node/local_id.", completer=complete_id)
]
Json: TypeAlias = Annotated[
    bool, Parameter(negative=(), show_default=False, help="Answer with one JSON document, for programs.")
]
JsonLines: TypeAlias = Annotated[
    bool, Parameter(negative=(), show_default=False, help="Print one JSON document a line, for programs.")
]
Timeout: TypeAlias = Annotated[
    float, Parameter(help="Seconds to wait for the registrar, its start included.", metavar="SECONDS")
]


def check_timeout(seconds: float) -> float:
    if not 0 < seconds < 1e6:
        raise UsageError(f"--timeout {seconds:g}: give a number of seconds above 0")
    return seconds
