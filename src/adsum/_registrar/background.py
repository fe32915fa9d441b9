"""A registrar in the background: the main program of the process that `spawn` starts.

The process that happened to start it must not be able to hurt it. `spawn` gave it a session of its own and no
descriptors but one pipe; here it forks once more, so that init adopts it and it leaves no zombie. It reports through
the pipe how its start went: ``ready``, ``other`` (another registrar serves), or the reason and message of the error.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """``folder limits pipe`` in the arguments: the folder, the limits as JSON, the pipe's descriptor."""
    if os.fork():
        os._exit(0)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o077)
    os.chdir("/")
    folder, limits, pipe = sys.argv[1], sys.argv[2], int(sys.argv[3])
    # "adsum-registrar" in ps and top; the kernel keeps 15 characters (proc(5)).
    with open("/proc/self/comm", "w", encoding="ascii") as comm:
        comm.write("adsum-registrar")
    _run(folder, limits, pipe)


def _run(folder: str, limits: str, pipe: int) -> None:
    from pathlib import Path

    import msgspec

    from ..errors import AdsumError
    from ..model import Limits
    from .start import serve

    def report(word: str) -> None:
        try:
            os.write(pipe, word.encode())
        except BrokenPipeError:
            # The client that started this registrar has left; others will connect.
            return
        finally:
            os.close(pipe)

    try:
        served = serve(Path(folder), msgspec.json.decode(limits, type=Limits), ready=lambda: report("ready"))
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
