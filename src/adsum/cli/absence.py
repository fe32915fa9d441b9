"""What a command says where it finds less than its user expects: no registry, no such id, or another registry."""

from __future__ import annotations

import shlex
from pathlib import Path

from .. import ALL, Registry, admin
from ..errors import AdsumError
from ..model import ProcessId
from .notes import note
from .options import RegistryOptions
from .output import render
from .similar import similar_word


def check_registry(registry: Registry, options: RegistryOptions) -> bool:
    """Whether the registry exists. If not, or if another one of its name lives elsewhere, says so on standard error:
    an absent registry is not an empty one. So it does where the namespace has no member, and a similar one has."""
    absent = absence(registry.folder, options)
    notes = [absent, _other_location(registry.folder, options), _silence(registry)]
    if not absent:
        notes.append(_similar_namespace(registry, options))
    for message in filter(None, notes):
        note(message, options)
    return not absent


def absence(folder: Path, options: RegistryOptions) -> str:
    """Says that there is no registry in the folder that the options name, and which one the user may have meant; empty
    where there is one."""
    if admin.page_header(folder) is not None:
        return ""
    return f"there is no registry in {render.printable(str(folder))}{_similar_name(folder, options)}"


def _similar_namespace(registry: Registry, options: RegistryOptions) -> str:
    """The namespace with members that the user may have meant instead of one without."""
    if options.namespace is None or registry.count():
        return ""
    others = {entry.process_id.namespace for entry in registry.find(namespace=ALL)}
    similar = similar_word(options.namespace, others - {options.namespace})
    if not similar:
        return ""
    shown = render.printable(options.namespace)
    return f"no member is in the namespace {shown}; did you mean --namespace {_quoted(similar)}?"


def _silence(registry: Registry) -> str:
    """What to know where members of other hosts are left out, because the bridge does not hear from the cluster."""
    stats = registry.stats().cluster
    if stats is None or stats.connected:
        return ""
    heard = "has not heard from the cluster yet" if stats.heard is None else f"last heard {stats.heard:.0f} s ago"
    return f"the bridge of this host {heard}: members of other hosts are left out; see adsum doctor"


def hint(process_id: ProcessId, registry: Registry, options: RegistryOptions) -> str:
    """Why `process_id` is perhaps not registered, as the end of a message: a similar id, no registry, another one."""
    return similar_hint(process_id, registry, options) + ending(_other_location(registry.folder, options))


def similar_hint(process_id: ProcessId, registry: Registry, options: RegistryOptions) -> str:
    """`hint` without another registry, for a message of the library, which names that one itself."""
    return ending(absence(registry.folder, options) or _similar_id(process_id, registry, options))


def ending(*notes: str) -> str:
    """These notes as the end of a message; nothing for those that are empty."""
    return "".join(f"; {text}" for text in notes if text)


def _similar_name(folder: Path, options: RegistryOptions) -> str:
    """The name of a registry that the user may have meant instead of the absent one."""
    if options.path is not None:
        return ""
    similar = similar_word(folder.name, _names(folder.parent))
    return f"; did you mean --name {_quoted(similar)}?" if similar else ""


def _names(base: Path) -> list[str]:
    """The registries in a base folder that this process can use."""
    try:
        return [folder.name for folder in base.iterdir() if _exists(folder)]
    except OSError:
        return []


def _exists(folder: Path) -> bool:
    try:
        return admin.check_folder(folder) and admin.page_header(folder) is not None
    except (AdsumError, OSError):
        return False


def _similar_id(process_id: ProcessId, registry: Registry, options: RegistryOptions) -> str:
    """The registered id that the user may have meant: a similar one of the namespace, else one of another namespace."""
    entries = [entry.process_id for entry in registry.find(namespace=ALL) if entry.process_id != process_id]
    near = {one.local_id: one for one in entries if one.namespace == process_id.namespace}
    far = {one.local_id: one for one in entries if one.namespace != process_id.namespace}
    for known in (near, far):
        if similar := similar_word(process_id.local_id, known):
            return f"did you mean {_typed_id(known[similar], registry, options)}?"
    return ""


def _typed_id(process_id: ProcessId, registry: Registry, options: RegistryOptions) -> str:
    """An id as a user types it, with the options that complete it where they have to be others than were given."""
    namespace, node, local_id = process_id
    if options.namespace is None and options.node is None:
        return _quoted(options.show_id(process_id, registry))
    given = {"namespace": (namespace, registry.namespace), "node": (node, registry.node)}
    changed = "".join(f" --{name} {_quoted(meant)}" for name, (meant, typed) in given.items() if meant != typed)
    return _quoted(local_id) + changed


def _quoted(text: str) -> str:
    return shlex.quote(render.printable(text))


def _other_location(folder: Path, options: RegistryOptions) -> str:
    """The registries of the same name that live in another default location; none where the user gave a path."""
    return "" if options.path is not None else admin.describe_other_registries(folder)
