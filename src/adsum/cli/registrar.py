"""``adsum registrar``: the one process that writes, started by hand or by a service manager."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter

from .._client.spawn import start_registrar
from .._os import folder as folders
from .._os import identity
from .._store import page as pages
from ..errors import RegistrarUnavailable
from ..model import Limits
from . import render
from .greeting import greet, silence
from .options import ANYWHERE, PATIENCE_SECONDS, WHOLE, Json, Place, UsageError

_LIMITS = Group(
    "Limits of a new registry",
    help="They count only when the registry is made; later its limits stand. The defaults are those of adsum.Limits.",
    sort_key=5,
)
_POLL_SECONDS = 0.02


def registrar(
    *,
    foreground: Annotated[
        bool,
        Parameter(
            negative=(), show_default=False, help="Serve in this process, log to standard error, end with 0 at SIGTERM."
        ),
    ] = False,
    replace: Annotated[
        bool,
        Parameter(
            negative=(), show_default=False, help="With --foreground: take the place of the registrar that serves now."
        ),
    ] = False,
    max_memory_mib: Annotated[int | None, WHOLE, Parameter(group=_LIMITS, help="Table pages in use, in MiB.")] = None,
    max_entries: Annotated[int | None, WHOLE, Parameter(group=_LIMITS, help="Number of entries.")] = None,
    max_metadata_bytes: Annotated[
        int | None, WHOLE, Parameter(group=_LIMITS, help="Metadata of one entry, encoded.")
    ] = None,
    max_capabilities: Annotated[int | None, WHOLE, Parameter(group=_LIMITS, help="Capabilities of one entry.")] = None,
    max_readers: Annotated[int | None, WHOLE, Parameter(group=_LIMITS, help="Readers at the same instant.")] = None,
    max_pending: Annotated[int | None, WHOLE, Parameter(group=_LIMITS, help="Requests that wait.")] = None,
    registration_timeout: Annotated[
        float | None, Parameter(group=_LIMITS, metavar="SECONDS", help="For writes that name no timeout.")
    ] = None,
    cleanup_window: Annotated[
        float | None, Parameter(group=_LIMITS, metavar="SECONDS", help="From a death to the end of its entries.")
    ] = None,
    linger: Annotated[
        float | None,
        Parameter(group=_LIMITS, metavar="SECONDS", help="How long a registrar stays with nothing to do."),
    ] = None,
    json: Json = False,
    place: Place = ANYWHERE,
) -> int:
    """Start the registrar of a registry.

    ```console
    $ adsum registrar --foreground --max-memory-mib 512
    ```

    Nobody has to: the first write starts one. Do it to choose the limits of a new registry, or to have a service
    manager keep it. Without --foreground it runs in the background and its pid is printed; where one runs already, that
    one's; where that is stopped or stuck, exit code 1. With --foreground, where another serves already, exit code 1;
    see --replace.
    """
    if replace and not foreground:
        raise UsageError("--replace goes with --foreground")
    given = {
        "max_memory_bytes": None if max_memory_mib is None else max_memory_mib * 1024**2,
        "max_entries": max_entries,
        "max_metadata_bytes": max_metadata_bytes,
        "max_capabilities": max_capabilities,
        "max_readers": max_readers,
        "max_pending": max_pending,
        "registration_timeout": registration_timeout,
        "cleanup_window": cleanup_window,
        "linger": linger,
    }
    limits = _limits({name: value for name, value in given.items() if value is not None})
    # Opened and closed: the folder is checked, and no table is open in a process that is about to serve them.
    with place.open(limits) as registry:
        folder = registry.folder
    if limits != Limits() and pages.attach(folder) is not None:
        _note(f"the registry in {folder} exists, and keeps the limits it was made with")
    if foreground:
        return _serve(folder, limits, replace)
    return _start(place, limits, json)


def _limits(given: dict[str, Any]) -> Limits:
    try:
        return Limits(**given)
    except ValueError as error:
        raise UsageError(str(error).replace("Limits.", "")) from error


def _start(place: Place, limits: Limits, json: bool) -> int:
    until = time.monotonic() + PATIENCE_SECONDS
    started = False
    with place.open(limits) as registry:
        while (pid := registry.stats().registrar_pid) is None:
            if time.monotonic() >= until:
                raise RegistrarUnavailable(
                    f"no registrar came up within {PATIENCE_SECONDS:g} s; see {registry.folder / 'registrar.log'}, or "
                    "run: adsum registrar --foreground"
                )
            start_registrar(registry.folder, limits, until)
            started = True
        if not started and _is_silent(registry.folder, pid):
            return 1
        if json:
            render.print_json({"folder": str(registry.folder), "pid": pid, "started": started})
        else:
            print(f"registrar {'started' if started else 'runs already'}: pid {pid}, {registry.folder}")
    return 0


def _is_silent(folder: Path, pid: int) -> bool:
    """Whether the registrar that runs serves nobody. Then it has been said what to do."""
    try:
        greet(folder)
    except TimeoutError as error:
        says, remedy = silence(pid, error)
        _note(f"the registrar of {folder}, {says}; {remedy}")
        return True
    except OSError:
        # It is only just starting, or leaving.
        return False
    return False


def _serve(folder: Path, limits: Limits, replace: bool) -> int:
    # What only serving needs is not imported by a command that only starts.
    from .._registrar.start import serve

    os.umask(0o077)
    until = time.monotonic() + PATIENCE_SECONDS
    while not serve(folder, limits, ready=_nobody_waits, foreground=True):
        if not replace:
            other = _serving(folder)
            who = f"pid {other}" if other else "just starting"
            _note(f"another registrar ({who}) serves {folder}; end it, or take its place with --replace")
            return 1
        if time.monotonic() >= until:
            raise RegistrarUnavailable(f"the registrar of {folder} does not leave; end it and try again")
        _end_other(folder, until)
    return 0


def _nobody_waits() -> None:
    """Serving has begun. A service manager is told by the log."""


def _serving(folder: Path) -> int:
    page = pages.attach(folder) if folders.check(folder) else None
    return page.registrar.pid if page is not None else 0


def _end_other(folder: Path, until: float) -> None:
    """Ask the registrar that serves to leave, and wait until it has. Nothing registered is lost by that."""
    page = pages.attach(folder)
    pidfd = identity.open_verified(page.registrar) if page is not None and page.registrar.pid else None
    if pidfd is None:
        # It has the lock and is about to announce itself, or about to leave.
        time.sleep(_POLL_SECONDS)
        return
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        left = select.poll()
        left.register(pidfd, select.POLLIN)
        left.poll(max(0, int((until - time.monotonic()) * 1000)))
    except ProcessLookupError:
        # It left by itself in the same moment.
        return
    finally:
        os.close(pidfd)


def _note(message: str) -> None:
    print(f"adsum: {message}", file=sys.stderr)
