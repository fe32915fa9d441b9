"""``adsum run``: registers any program for as long as it runs."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ... import Registration, admin
from ...errors import AdsumError, DeadProcess, NotRegistered
from ...model import Owner
from .. import REGISTRY_ERROR
from ..advice import shell_advice
from ..notes import note
from ..options import (
    DEFAULT_REGISTRY,
    PATIENCE_SECONDS,
    Everywhere,
    Id,
    RegistryOptions,
    Timeout,
    UsageError,
    check_timeout,
)
from . import supervise
from .ends import DIES, OUTLIVES, DieWithParent, OwnedBy, owning_entry, successor_of, tethers_for
from .gate import GatedChild
from .metadata import DEFAULT_METADATA, MetadataOptions
from .tethers import Tethers

# How long the end of this command may wait for a registrar that does not answer.
REPORT_SECONDS = 0.5
_SEPARATOR = "--"
_HELP_FLAGS = {"--help", "-h"}


def run(
    id: Id,
    /,
    *command: Annotated[str, Parameter(help="After --: the program and its arguments, passed on unchanged.")],
    metadata: MetadataOptions = DEFAULT_METADATA,
    owned_by: OwnedBy = None,
    die_with_parent: DieWithParent = None,
    everywhere: Everywhere = False,
    timeout: Timeout = PATIENCE_SECONDS,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """Register a program for as long as it runs.

    ```console
    $ adsum run planner --capability planning -- node agent.js
    ```

    The program is registered before it starts. If that fails, for example because the ID is held, the program never
    runs. Signals sent to adsum are passed on to the program, except SIGKILL and SIGSTOP, which no process can catch.
    Signals of a terminal, such as Ctrl-C, reach the program directly. The exit code is that of the program, 128 + n
    where signal n ended it, 127 or 126 where it cannot be started, 3 where it could not be registered: also where no
    living member is registered under the ID of --owned-by.

    When the program stops, adsum stops with it, so that the shell notices; fg or bg continues both. Only where there
    is no terminal, and the program gets SIGSTOP, its sender has to continue it.

    If adsum is killed (SIGKILL), the kernel kills the program too, so that a supervisor can start both again under the
    same ID. Processes that the program has started, and a program with set-user-ID or capabilities, are not killed.
    With --outlive the program keeps running, and stays registered until it ends.

    With --die-with-parent the program also ends when the process that started adsum has ended, in whatever way: a shell
    script or an agent that was killed leaves no program behind. With --owned-by it ends when the process of that
    member has ended. Either way it gets SIGTERM, and SIGKILL after 5 s.
    """
    if not command or not command[0]:
        raise UsageError("no program to run; type it after --, as in: adsum run planner -- node agent.js")
    fields = metadata.fields()
    seconds = check_timeout(timeout)
    tethers = tethers_for(command, die_with_parent)
    child = GatedChild(command, set(supervise.WATCHED), dies_with_parent=die_with_parent is not False)
    try:
        # This registry is closed before signals are blocked, because its threads block none.
        with options.open() as registry:
            process_id = options.parse_id(id, registry)
            owning = owning_entry(owned_by, registry, options)
            with shell_advice(process_id, options, registry):
                registration = registry.register(
                    process_id, child.pid, owned_by=owning, everywhere=everywhere, timeout=seconds, **fields
                )
        supervise.block()
        logging.basicConfig(format="adsum: %(message)s", level=logging.WARNING)
        keeping = options.open()
        registration = admin.keep_registered(keeping, registration)
        _tether(tethers, registration, options)
        tethers.require_all()
    except BaseException as error:
        tethers.close()
        child.abandon()
        if isinstance(error, NotRegistered):
            # The code of a command that looks for a member would be one that the program may have.
            note(str(error), options)
            return REGISTRY_ERROR
        raise
    child.release()
    exit = supervise.attend(child.pid, tethers)
    keeping.close()
    _report(registry.folder, registration.entry.owner, exit)
    return supervise.exit_code(exit)


def _tether(tethers: Tethers, registration: Registration, options: RegistryOptions) -> None:
    """Tether the program to the member that owns it, and to the process to which that is handed over."""
    owned_by = registration.entry.owned_by
    if owned_by is None:
        return

    def successor() -> Owner | None:
        try:
            with options.open() as registry:
                # It may have been registered anew.
                entry = registration.entry
                return successor_of(entry.process_id, entry.incarnation, registry)
        except AdsumError:
            # No registry says that another process has it now.
            return None

    if not tethers.add(owned_by.owner, successor):
        raise DeadProcess(f"the process of {owned_by.process_id} has ended; the program was not started")


def _report(folder: Path, owner: Owner, exit: int) -> None:
    """Let the registrar note how the program ended. A kernel older than Linux 6.15 does not say it to the registrar."""
    with contextlib.suppress(AdsumError, OSError):
        # It does not answer in time, or none serves. The exit stays unknown then, and that is no error of the program.
        admin.report_exit(folder, owner, exit, REPORT_SECONDS)


def require_separator(tokens: list[str]) -> None:
    """Errors: `UsageError` where -- is missing. Without it, options of the program would be parsed as options of
    adsum. Also where two options contradict each other, which the parser would call one option twice."""
    if tokens[:1] not in (["run"], ["claim"]) or _HELP_FLAGS.intersection(tokens):
        return
    own = tokens[: tokens.index(_SEPARATOR)] if _SEPARATOR in tokens else tokens
    if {DIES, OUTLIVES} <= set(own):
        raise UsageError(
            f"{DIES} and {OUTLIVES} contradict each other: the first ends the program sooner, the second keeps it "
            "running when adsum is killed; give one of them"
        )
    if len(tokens) > 1 and _SEPARATOR not in tokens:
        member = "planner" if tokens[0] == "run" else "printer"
        raise UsageError(f"type -- before the program, as in: adsum {tokens[0]} {member} -- node agent.js")
