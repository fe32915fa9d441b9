"""Whether a registrar answers, and what it means when it does not."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from .. import _wire as wire
from .._os import folder as folders
from .._os import identity

ANSWER_SECONDS = 2.0
# Field 3 of /proc/PID/stat (proc(5)): stopped by a signal, or by a debugger.
_STOPPED = ("T", "t")


def greet(folder: Path) -> None:
    """Introduce ourselves and hear the answer, as a client does, but start nobody. Raises `OSError`; where there is no
    answer in time, `TimeoutError`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, folders.short_path(folder) as reachable:
        sock.settimeout(ANSWER_SECONDS)
        sock.connect(f"{reachable}/{wire.SOCKET_NAME}")
        hello = wire.Hello(wire.VERSION, identity.pid_namespace(), os.urandom(16), identity.current())
        sock.sendall(wire.frame(hello))
        frames = wire.Frames()
        while not (heard := list(frames)):
            if not (data := sock.recv(4096)):
                raise ConnectionResetError("it closed the connection")
            frames.feed(data)
    answer = wire.decode_welcome(heard[0])
    if isinstance(answer, wire.Failed):
        raise wire.error_from(answer)


def silence(pid: int, error: OSError) -> tuple[str, str]:
    """Of the registrar `pid`, which did not answer: what is wrong with it, and what to do."""
    if _is_stopped(pid):
        return f"pid {pid} is stopped, and serves nobody", f"kill -CONT {pid}"
    remedy = f"kill -9 {pid}: nothing is lost, and the next write starts another"
    return f"pid {pid} does not answer ({error})", remedy


def _is_stopped(pid: int) -> bool:
    try:
        # The command, field 2, may hold spaces and parentheses; the last ")" ends it (proc(5)).
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] in _STOPPED
    except (FileNotFoundError, ProcessLookupError):
        # It has just ended.
        return False
