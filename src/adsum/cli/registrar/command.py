"""``adsum registrar``: the one process that writes, started by hand or by a service manager."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter

from ... import admin
from ...errors import RegistrarUnavailable
from ...model import Limits
from ..options import DEFAULT_REGISTRY, PATIENCE_SECONDS, WHOLE, Json, RegistryOptions, UsageError
from ..output import render
from .ping import explain_silence

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
            negative=(),
            show_default=False,
            help="Take the place of the registrar that serves now, of whatever version; every entry stays.",
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
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """Start the registrar of a registry.

    ```console
    $ adsum registrar --foreground --max-memory-mib 512
    ```

    Nobody has to: the first write starts one. Do it to choose the limits of a new registry, or to have a service
    manager keep it. Without --foreground it runs in the background and its pid is printed; where one runs already, that
    one's; where that is stopped or stuck, exit code 1. With --foreground, where another serves already, exit code 1.
    With --replace the registrar that serves exits first; use it after an upgrade of adsum.
    """
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
    folder = options.folder()
    if limits != Limits() and admin.page_header(folder) is not None:
        _note(f"the registry in {folder} exists, and keeps the limits it was made with")
    if foreground:
        return _serve(folder, limits, replace)
    if replace:
        admin.replace_registrar(folder, limits, PATIENCE_SECONDS)
    return _start(options, limits, json, started=replace)


def _limits(given: dict[str, Any]) -> Limits:
    try:
        return Limits(**given)
    except ValueError as error:
        raise UsageError(str(error).replace("Limits.", "")) from error


def _start(options: RegistryOptions, limits: Limits, json: bool, *, started: bool = False) -> int:
    until = time.monotonic() + PATIENCE_SECONDS
    with options.open(limits) as registry:
        while (pid := registry.stats().registrar_pid) is None:
            if time.monotonic() >= until:
                raise RegistrarUnavailable(
                    f"no registrar came up within {PATIENCE_SECONDS:g} s; see {registry.folder / admin.LOG_NAME}, or "
                    "run: adsum registrar --foreground"
                )
            admin.start_registrar(registry.folder, limits, until - time.monotonic())
            started = True
        if not started and _is_silent(registry.folder, pid):
            return 1
        if json:
            render.print_json({"folder": str(registry.folder), "pid": pid, "started": started})
        else:
            print(f"registrar {'started' if started else 'runs already'}: pid {pid}, {registry.folder}")
    return 0


def _is_silent(folder: Path, pid: int) -> bool:
    """Whether the running registrar does not answer. If so, prints why and the remedy."""
    try:
        admin.ping(folder)
    except TimeoutError as error:
        why, remedy = explain_silence(pid, error)
        _note(f"the registrar of {folder}, {why}; {remedy}")
        return True
    except OSError:
        # It is only just starting, or leaving.
        return False
    return False


def _serve(folder: Path, limits: Limits, replace: bool) -> int:
    os.umask(0o077)
    until = time.monotonic() + PATIENCE_SECONDS
    while not admin.serve(folder, limits):
        if not replace:
            other = _serving(folder)
            which = f"pid {other}" if other else "just starting"
            _note(f"another registrar ({which}) serves {folder}; end it, or take its place with --replace")
            return 1
        if time.monotonic() >= until:
            raise RegistrarUnavailable(f"the registrar of {folder} does not leave; end it and try again")
        if not admin.stop_registrar(folder, until - time.monotonic()):
            # It has the lock and is about to announce itself, or about to leave.
            time.sleep(_POLL_SECONDS)
    return 0


def _serving(folder: Path) -> int:
    header = admin.page_header(folder) if admin.check_folder(folder) else None
    return header.registrar.pid if header is not None else 0


def _note(message: str) -> None:
    print(f"adsum: {message}", file=sys.stderr)
