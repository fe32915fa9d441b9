"""Starting a registrar: a client that finds none starts one, as `multiprocessing` starts its resource tracker."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from .._foreign import reraise_foreign
from .._instrument import instrument
from .._os import folder as folders
from .._os import polling
from ..errors import BY_REASON, RegistrarUnavailable
from ..model import Limits

# -I -S: the environment, the site folder and the .pth files of the process that starts a registrar do not concern it,
# and cost time. So it gets the folders of the three packages as an argument.
_PACKAGES = ("adsum", "lmdb", "msgspec")
_BOOT = "import sys; sys.path[:0] = sys.argv.pop().split(':'); from adsum._registrar.background import main; main()"
_LOCKED_PAUSE = 0.002


def _nothing() -> None:
    """What usually comes first."""


def start_registrar(folder: Path, limits: Limits, until: float, *, first: Callable[[], None] = _nothing) -> bool:
    """Start a registrar for `folder` and wait until it serves. False where another one serves or is about to, where it
    died, and at `until` (monotonic); the caller dials again.

    No other client starts a registrar from the call of `first` until the new one serves. Errors: the one that kept it
    from serving; `RegistrarUnavailable` when it cannot be started at all.
    """
    folders.create(folder)
    began = time.monotonic()
    with _alone(folder) as alone:
        if alone:
            first()
        word = _start_and_listen(folder, limits, until) if alone else "other"
    if word == "other":
        # Another process holds the lock: a registrar about to serve, or about to leave. The caller dials again.
        time.sleep(max(0.0, min(_LOCKED_PAUSE, until - time.monotonic())))
    elif word == "ready":
        if (report := instrument.registrar_started) is not None:
            report(folder, time.monotonic() - began)
    elif word:
        reason, _, message = word.partition("\n")
        raise BY_REASON.get(reason, RegistrarUnavailable)(message or reason)
    return word == "ready"


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether no other process is starting a registrar for this folder; twenty at once would delay each other."""
    try:
        descriptor = os.open(folder / "starting", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        reraise_foreign(error)
        raise RegistrarUnavailable(f"cannot start a registrar in {folder}: {error}; see adsum doctor") from error
    try:
        yield _is_locked_by_us(descriptor)
    finally:
        os.close(descriptor)


def _is_locked_by_us(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        reraise_foreign(error)
        return False
    return True


def _start_and_listen(folder: Path, limits: Limits, until: float) -> str:
    reader_end, writer_end = os.pipe2(os.O_CLOEXEC)
    try:
        _start(folder, limits, writer_end)
        os.close(writer_end)
        writer_end = -1
        return _listen(reader_end, until)
    finally:
        os.close(reader_end)
        if writer_end >= 0:
            os.close(writer_end)


def _start(folder: Path, limits: Limits, writer_end: int) -> None:
    if not sys.executable:
        raise RegistrarUnavailable("there is no Python executable to start a registrar with; run: adsum registrar")
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        _BOOT,
        str(folder),
        msgspec.json.encode(limits).decode(),
        str(writer_end),
    ]
    try:
        with _open_log(folder) as log:
            # The first process forks and exits at once (see the registrar's `background`).
            subprocess.run(
                [*command, ":".join(_package_folders())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(writer_end,),
                start_new_session=True,
                cwd="/",
                check=True,
            )
    except (OSError, subprocess.SubprocessError) as error:
        reraise_foreign(error)
        raise RegistrarUnavailable(
            f"could not start a registrar ({error}); see {folder}/registrar.log, or run: adsum registrar --foreground"
        ) from error


def _open_log(folder: Path) -> BinaryIO:
    """The log, or /dev/null: better a registrar without a log than none. `adsum doctor` reports a missing log."""
    try:
        return open(folder / "registrar.log", "ab", opener=_privately)
    except OSError as error:
        reraise_foreign(error)
        return open(os.devnull, "ab")


def _privately(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _package_folders() -> list[str]:
    found = []
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            parent = os.path.dirname(os.path.abspath(location))
            if parent not in found:
                found.append(parent)
    return found


def _listen(reader_end: int, until: float) -> str:
    """The word of the starting registrar, or the error that it names; empty when it died or time ran out."""
    waiting = polling.wait_set()
    waiting.register(reader_end, polling.POLLIN)
    received = b""
    while waiting.poll(max(0, int((until - time.monotonic()) * 1000))):
        part = os.read(reader_end, 4096)
        received += part
        if not part or received == b"ready":
            break
    return received.decode(errors="replace")
