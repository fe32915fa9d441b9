"""``adsum registrar``: starts or stops the one process of a registry that writes, or serves as that process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ... import admin
from ...errors import RegistrarUnavailable
from ...model import Limits
from ...views.documents import RegistrarDocument
from ..absence import absence
from ..notes import note
from ..options import DEFAULT_REGISTRY, FLAG, PATIENCE_SECONDS, Json, RegistryOptions, UsageError
from ..output import render
from .limits import DEFAULT_LIMITS, LimitOptions
from .ping import explain_silence


def registrar(
    *,
    foreground: Annotated[
        bool, FLAG, Parameter(help="Serve in this process; log to standard error; exit with 0 at SIGTERM.")
    ] = False,
    replace: Annotated[
        bool, FLAG, Parameter(help="First stop the registrar that serves now, of whatever version. Every entry stays.")
    ] = False,
    stop: Annotated[
        bool, FLAG, Parameter(help="Stop the registrar, and return when it has ended. Every entry stays.")
    ] = False,
    given_limits: LimitOptions = DEFAULT_LIMITS,
    json: Json = False,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """Start or stop the registrar of a registry.

    ```console
    $ adsum registrar --foreground --max-memory-mib 512
    $ adsum registrar --stop
    ```

    This is rarely needed: the first write starts a registrar. Use the command to choose the limits of a new registry,
    to let a service manager run the registrar, or, with --replace, after an upgrade of adsum.

    Without --foreground the registrar runs in the background, and the command prints its pid. If one runs already, the
    command prints the pid of that one; exit code 1 where it is stopped or stuck. With --foreground, exit code 1 where
    another registrar serves; with --stop, where none runs. The next write starts a registrar again.
    """
    limits = given_limits.limits()
    folder = options.folder()
    if stop:
        if foreground or replace or limits != Limits():
            raise UsageError("--stop stops the registrar, and goes with no other option about it")
        return _stop(folder, options, json)
    if limits != Limits() and admin.page_header(folder) is not None:
        note(f"the registry in {folder} exists, and keeps the limits that it was created with", options)
    if foreground:
        return _serve(folder, limits, options, replace)
    if replace:
        admin.replace_registrar(folder, limits, PATIENCE_SECONDS)
    return _start(options, limits, json, started=replace)


def _start(options: RegistryOptions, limits: Limits, json: bool, *, started: bool = False) -> int:
    until = time.monotonic() + PATIENCE_SECONDS
    with options.open() as registry:
        while (pid := registry.stats().registrar_pid) is None:
            if time.monotonic() >= until:
                raise RegistrarUnavailable(
                    f"no registrar started within {PATIENCE_SECONDS:g} s; see {registry.folder / admin.LOG_NAME}, or "
                    "run: adsum registrar --foreground"
                )
            admin.start_registrar(registry.folder, limits, until - time.monotonic())
            started = True
        if not started and _is_silent(registry.folder, pid, options):
            return 1
        if json:
            render.print_json(RegistrarDocument(str(registry.folder), pid, started))
        else:
            print(f"registrar {'started' if started else 'already running'}: pid {pid}, {registry.folder}")
    return 0


def _stop(folder: Path, options: RegistryOptions, json: bool) -> int:
    if absent := absence(folder, options):
        note(absent, options)
    stopped = admin.stop_registrar(folder, PATIENCE_SECONDS)
    if json:
        render.print_json(RegistrarDocument(str(folder), None, started=False))
    else:
        print(f"{'registrar stopped' if stopped else 'no registrar runs'}: {folder}")
    return 0 if stopped else 1


def _is_silent(folder: Path, pid: int, options: RegistryOptions) -> bool:
    """Whether the running registrar does not answer. If so, prints why and the remedy."""
    try:
        admin.ping(folder)
    except TimeoutError as error:
        why, remedy = explain_silence(pid, error)
        note(f"the registrar of {folder}, {why}; {remedy}", options)
        return True
    except OSError:
        # It is just starting or exiting.
        return False
    return False


def _serve(folder: Path, limits: Limits, options: RegistryOptions, replace: bool) -> int:
    if replace:
        admin.require_not_newer(folder)
    until = time.monotonic() + PATIENCE_SECONDS
    while not admin.serve(folder, limits):
        if not replace:
            other = _serving(folder)
            which = f"pid {other}" if other else "just starting"
            note(f"another registrar ({which}) serves {folder}; stop it, or replace it with --replace", options)
            return 1
        admin.stop_registrar(folder, until - time.monotonic())
    return 0


def _serving(folder: Path) -> int:
    header = admin.page_header(folder) if admin.check_folder(folder) else None
    return header.registrar.pid if header is not None else 0
