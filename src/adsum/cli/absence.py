"""What a command says where it finds less than its user expects: no registry, no such id, or another registry."""

from __future__ import annotations

import difflib
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from .. import Registry, admin
from ..errors import AdsumError
from ..model import ProcessId
from .options import RegistryOptions
from .output import render


def check_registry(registry: Registry, options: RegistryOptions) -> bool:
    """Whether the registry exists. If not, or if another one of its name lives elsewhere, says so on standard error:
    an absent registry is not an empty one."""
    exists = admin.page_header(registry.folder) is not None
    notes = [_other_place(registry.folder), _silence(registry)]
    if not exists:
        notes.insert(0, f"there is no registry in {registry.folder}{_similar_name(registry, options)}")
    for note in filter(None, notes):
        print(f"adsum: {note}", file=sys.stderr)
    return exists


def _silence(registry: Registry) -> str:
    """What to know where members of other hosts are left out, because the bridge does not hear from the cluster."""
    stats = registry.stats().cluster
    if stats is None or stats.connected:
        return ""
    heard = "has not heard from the cluster yet" if stats.heard is None else f"last heard {stats.heard:.0f} s ago"
    return f"the bridge of this host {heard}: members of other hosts are left out; see adsum doctor"


def hint(process_id: ProcessId, registry: Registry, options: RegistryOptions) -> str:
    """Why `process_id` is perhaps not registered, as the end of a message: a similar id, no registry, another one."""
    if admin.page_header(registry.folder) is None:
        found = f"there is no registry in {registry.folder}{_similar_name(registry, options)}"
    else:
        found = _similar_id(process_id, registry, options)
    return "".join(f"; {note}" for note in (found, _other_place(registry.folder)) if note)


def _similar_name(registry: Registry, options: RegistryOptions) -> str:
    """The name of a registry that the user may have meant instead of the absent one."""
    if options.path is not None:
        return ""
    similar = _similar(registry.folder.name, _names(registry.folder.parent))
    return f"; did you mean --name {shlex.quote(render.printable(similar))}?" if similar else ""


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
    """The registered id that the user may have meant."""
    entries = registry.find(namespace=process_id.namespace)
    known = {entry.process_id.local_id: entry.process_id for entry in entries if entry.process_id != process_id}
    similar = _similar(process_id.local_id, known)
    if not similar:
        return ""
    return f"did you mean {shlex.quote(render.printable(options.show_id(known[similar], registry)))}?"


def _similar(word: str, known: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(word, list(known), 1)), "")


def _other_place(folder: Path) -> str:
    """The registries of the same name that live in another default place."""
    others = admin.other_registries(folder)
    if not others:
        return ""
    places = ", ".join(map(str, others))
    return f"another registry of this name lives in {places}; ADSUM_DIR={shlex.quote(str(others[0].parent))} chooses it"
