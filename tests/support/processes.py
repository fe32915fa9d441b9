"""What the kernel says of a process (proc(5)), also of one that ends meanwhile."""

from __future__ import annotations

from pathlib import Path


def state_of(pid: int) -> str:
    """The letter of its state: R, S, T, Z ...; X for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        # The second: it was reaped while the file was open.
        return "X"


def is_alive(pid: int) -> bool:
    """Whether it runs, or could; a zombie does not."""
    return state_of(pid) not in "ZX"
