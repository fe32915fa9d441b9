"""A registrar in the background: the main program of the process that `starting` starts.

The process that happened to start it must not be able to hurt it. It got a session of its own and no descriptors but
one pipe; here it drops what else it inherited, and forks once more, so that init adopts it and it leaves no zombie. It
reports through the pipe how its start went: ``ready``, ``other`` (another registrar serves), or the reason and message
of the error.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

from .._os.start_arguments import StartArguments, parse
from . import inheritance


def main() -> None:
    """Become the registrar that the last arguments of this process describe (see `start_arguments`)."""
    arguments = parse(sys.argv)
    if arguments is None:
        sys.exit("this program is started by adsum only; to start a registrar yourself, run: adsum registrar")
    kept = inheritance.drop()
    # msgspec does without it, but loads it where it is installed, and `inspect` with it: a tenth of this process's
    # memory and of its start.
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    # What imports make stays, so a search for garbage among it finds nothing, and takes a twentieth of the start.
    gc.disable()
    # Before the fork: where an import fails, the client learns it from the exit status and standard error.
    from . import start  # noqa: F401

    gc.freeze()
    gc.enable()
    if os.fork():
        os._exit(0)
    # "adsum-registrar" in ps and top; the kernel keeps 15 characters (proc(5)).
    with open("/proc/self/comm", "wb") as comm:
        comm.write(b"adsum-registrar")
    _run(arguments, kept)


def _run(arguments: StartArguments, kept: Sequence[str]) -> None:
    from pathlib import Path

    import msgspec

    from ..errors import AdsumError
    from ..model import Limits
    from .start import serve

    folder, pipe = arguments.folder, arguments.pipe

    def report(word: str) -> None:
        nonlocal pipe
        if pipe < 0:
            # It said "ready", and failed later. The number may be another file's by now.
            return
        descriptor, pipe = pipe, -1
        try:
            os.write(descriptor, word.encode(errors="backslashreplace"))
        except BrokenPipeError:
            # The client that started this registrar has left; others will connect.
            return
        finally:
            os.close(descriptor)

    try:
        limits = msgspec.json.decode(arguments.limits, type=Limits)
        served = serve(Path(folder), limits, ready=lambda: report("ready"), kept=kept)
    except AdsumError as error:
        report(f"{error.reason}\n{error}")
        sys.exit(1)
    except Exception as error:
        report(
            f"registrar_unavailable\nthe registrar of {folder} could not start: {error!r}; see {folder}/registrar.log"
        )
        raise
    if not served:
        report("other")
