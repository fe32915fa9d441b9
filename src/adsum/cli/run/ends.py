"""The options that say what ends a program, besides itself."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from ... import Registry
from ...errors import NotRegistered
from ...model import Entry, Owner, ProcessId
from ..absence import hint
from ..options import RegistryOptions, complete_id
from .tethers import Tethers

DIES, OUTLIVES = "--die-with-parent", "--outlive"

OwnedBy: TypeAlias = Annotated[
    str | None,
    Parameter(metavar="ID", help="A member with whose process this one ends, too.", completer=complete_id),
]
DieWithParent: TypeAlias = Annotated[
    bool | None,
    Parameter(
        negative=OUTLIVES,
        show_default=False,
        help="--die-with-parent: the program also ends when the process that started adsum has ended. --outlive: it "
        "keeps running when adsum is killed. By default it is killed with adsum, and with no other process.",
    ),
]
# The attribute of a file that gives its program capabilities (capabilities(7)).
_CAPABILITIES = "security.capability"


def tethers_for(command: Sequence[str], die_with_parent: bool | None) -> Tethers:
    """The tethers that the options ask for. Errors: `UsageError`; `AdsumError` where one has ended."""
    tethers = Tethers()
    if die_with_parent:
        tethers.add_parent()
        if path := _privileged_program(command[0]):
            print(
                f"adsum: {path} gets other privileges (set-user-ID, set-group-ID or capabilities); the kernel does not "
                "kill it when adsum is killed, and adsum may not end it",
                file=sys.stderr,
            )
    return tethers


def owning_entry(id: str | None, registry: Registry, options: RegistryOptions) -> Entry | None:
    """The entry of the member that --owned-by names. Errors: `NotRegistered`."""
    if id is None:
        return None
    process_id = options.parse_id(id, registry)
    entry = registry.lookup(process_id)
    if entry is None:
        raise NotRegistered(
            f"--owned-by: {process_id} is not registered (or its process has died); adsum ls lists the members"
            + hint(process_id, registry, options)
        )
    return entry


def successor_of(process_id: ProcessId, incarnation: int, registry: Registry) -> Owner | None:
    """The process of the member that owns an entry now; None where that has ended, or the entry has."""
    entry: Entry | None = registry.lookup(process_id)
    owned_by = None if entry is None or entry.incarnation != incarnation else entry.owned_by
    return None if owned_by is None else owned_by.owner


def _privileged_program(name: str) -> str | None:
    """The path of a program whose exec changes the privileges of its process. The kernel takes back then that the
    process is killed with its parent (PR_SET_PDEATHSIG, prctl(2))."""
    path = name if "/" in name else shutil.which(name)
    if path is None:
        return None
    try:
        found = Path(path).stat()
        of_file = os.geteuid() != 0 and _CAPABILITIES in os.listxattr(path)
    except OSError:
        # It cannot be started, which is reported where that is tried.
        return None
    as_user = found.st_mode & stat.S_ISUID and found.st_uid != os.geteuid()
    as_group = found.st_mode & stat.S_ISGID and found.st_mode & stat.S_IXGRP and found.st_gid != os.getegid()
    return path if as_user or as_group or of_file else None
