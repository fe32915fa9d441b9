"""Explains why a registrar does not answer, and what to do."""

from __future__ import annotations

from pathlib import Path

# Field 3 of /proc/PID/stat (proc(5)): stopped by a signal, or by a debugger.
_STOPPED = ("T", "t")


def explain_silence(pid: int, error: OSError) -> tuple[str, str]:
    """Why the registrar `pid` did not answer a ping, and the remedy."""
    if _is_stopped(pid):
        return f"pid {pid} is stopped and serves no client", f"kill -CONT {pid}"
    remedy = f"kill -9 {pid}: no entry is lost, and the next write starts another registrar"
    return f"pid {pid} does not answer ({error})", remedy


def _is_stopped(pid: int) -> bool:
    try:
        # The command, field 2, may hold spaces and parentheses; the last ")" ends it (proc(5)).
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] in _STOPPED
    except (FileNotFoundError, ProcessLookupError):
        # It exited meanwhile.
        return False
