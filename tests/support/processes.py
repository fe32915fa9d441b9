"""What the kernel says of a process (proc(5)), also of one that ends meanwhile."""

from __future__ import annotations

import contextlib
import os
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


def open_files(pid: int | str = "self") -> dict[int, str]:
    """What the descriptors of a process refer to, by number. Without those that it closes while they are listed, that
    of the listing itself among them."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return found
