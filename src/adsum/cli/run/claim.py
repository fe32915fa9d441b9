"""``adsum claim``: runs a program while it holds a slot of a member, as a lock."""

from __future__ import annotations

import math
from typing import Annotated

from cyclopts import Parameter

from ... import Registry
from ...errors import NotRegistered, Timeout
from ..absence import absence, ending, hint
from ..filters import MemberConditions
from ..notes import note
from ..options import DEFAULT_REGISTRY, RegistryOptions, UsageError, check_timeout, complete_id
from . import supervise
from .ends import DieWithParent, tethers_for
from .gate import GatedChild

NO_SLOT = 1
_SEPARATOR = "--"
# Between the words of the program, which as arguments of a process can contain none.
_NUL = "\0"


ANY_MEMBER = MemberConditions()


def claim(
    *words: Annotated[
        str,
        Parameter(
            help="The ID of the member, if it is to be a certain one; then --, and the program with its arguments, "
            "passed on unchanged.",
            completer=complete_id,
        ),
    ],
    filter: MemberConditions = ANY_MEMBER,
    timeout: Annotated[
        float | None,
        Parameter(metavar="SECONDS", help="Wait at most this long for a slot; 0 to try only. Default: no limit."),
    ] = None,
    die_with_parent: DieWithParent = None,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """Run a program while it holds a slot of a member: a lock for shell scripts.

    ```console
    $ adsum claim printer -- lpr report.pdf
    $ adsum claim --capability gpu --timeout 60 -- python train.py
    ```

    Waits until a slot of the member is free, or of any healthy member that meets the conditions; first come, first
    served. A member has one slot, or as many as --slots said when it was registered. The slot is the program's: it is
    free when the program has ended, in whatever way. Signals and the exit code pass through, as with adsum run. Exit
    code 1 where no slot is free in time, and where no living member is registered under ID; then the program never
    runs.
    """
    id, command = _split(words, filter)
    if timeout is not None and not timeout >= 0:
        raise UsageError(f"--timeout {timeout:g}: give a number of seconds, or 0 to try only")
    seconds = None if timeout is None or math.isinf(timeout) else 0.0 if timeout == 0 else check_timeout(timeout)
    tethers = tethers_for(command, die_with_parent)
    child = GatedChild(command, set(supervise.WATCHED), dies_with_parent=die_with_parent is not False)
    try:
        # The registry is closed before the program starts: nothing of it stays open while the program runs.
        with options.open() as registry:
            _claim(registry, child.pid, id, filter, seconds, options)
        tethers.require_all()
        supervise.block()
    except Timeout as error:
        tethers.close()
        child.abandon()
        if seconds is None:
            raise
        about = ending(absence(options.folder(), options))
        note(str(error).replace("timeout=", "--timeout").replace("slots=", "--slots") + about, options)
        return NO_SLOT
    except BaseException:
        tethers.close()
        child.abandon()
        raise
    child.release()
    return supervise.exit_code(supervise.attend(child.pid, tethers))


def _claim(
    registry: Registry,
    pid: int,
    id: str | None,
    filter: MemberConditions,
    seconds: float | None,
    options: RegistryOptions,
) -> None:
    process_id = None if id is None else options.parse_id(id, registry)
    try:
        registry.claim(process_id, pid, timeout=seconds, **filter.conditions(options))
    except NotRegistered as error:
        if process_id is None:
            raise
        raise NotRegistered(
            f"{process_id} is not registered (or its process has died), so it cannot be claimed"
            + hint(process_id, registry, options)
        ) from error


def _split(words: tuple[str, ...], filter: MemberConditions) -> tuple[str | None, list[str]]:
    """The ID, if there is one, and the program. Errors: `UsageError`."""
    *ids, packed = words or ("",)
    command = packed.split(_NUL)[1:]
    if not command or not command[0]:
        raise UsageError("no program to run; type it after --, as in: adsum claim printer -- lpr report.pdf")
    if len(ids) > 1:
        raise UsageError(f"give one ID, not {len(ids)}: {' '.join(ids)}")
    if not ids and not filter:
        raise UsageError("give an ID or conditions, as in: adsum claim --capability gpu -- python train.py")
    return (ids[0] if ids else None), command


def pack_program(tokens: list[str]) -> list[str]:
    """The command line of ``adsum claim`` with its program as one word, which starts with NUL: without an ID, the first
    word of the program would be parsed as one."""
    if tokens[:1] != ["claim"] or _SEPARATOR not in tokens:
        return tokens
    at = tokens.index(_SEPARATOR)
    return [*tokens[: at + 1], "".join(f"{_NUL}{word}" for word in tokens[at + 1 :])]
