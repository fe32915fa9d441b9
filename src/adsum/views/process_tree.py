"""The processes around a member: the chain of parents above its process, and the processes that descend from it.

Read from ``/proc`` (proc(5)) in one pass, which is no snapshot: a process that ends meanwhile is left out. Where
``/proc`` hides other processes (hidepid), the tree is what is visible.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
# A fork bomb below a member must not become a list without end.
MAX_DESCENDANTS = 200
MAX_COMMAND = 160


class Process(NamedTuple):
    """One process: its pid, its parent's, the state of `ps` (R, S, D, Z, T ...), and its command line."""

    pid: int
    parent: int
    state: str
    command: str


class TreeLine(NamedTuple):
    """A process of a tree, and how far below the first one it is."""

    process: Process
    depth: int
    is_member: bool


def process_tree(pid: int) -> list[TreeLine]:
    """The tree around a process, parents first, then itself, then its descendants in depth-first order. Empty where the
    process cannot be seen.

    >>> from adsum.views.process_tree import process_tree
    >>> registration = registry.register("planner-1")
    >>> [line.process.pid == os.getpid() for line in process_tree(registration.entry.pid) if line.is_member]
    [True]
    """
    processes = {process.pid: process for process in _processes()}
    if pid not in processes:
        return []
    above = _parents(processes, pid)
    lines = [TreeLine(process, depth, is_member=False) for depth, process in enumerate(above)]
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process.pid)
    pending = [(pid, len(above))]
    while pending and len(lines) < len(above) + 1 + MAX_DESCENDANTS:
        one, depth = pending.pop()
        process = processes[one]
        # The command line is read for the few processes that are shown.
        lines.append(TreeLine(process, depth, is_member=one == pid))
        pending += [(child, depth + 1) for child in sorted(children.get(one, ()), reverse=True)]
    return [line._replace(process=line.process._replace(command=_command(line.process))) for line in lines]


def _parents(processes: Mapping[int, Process], pid: int) -> list[Process]:
    above: list[Process] = []
    seen = {pid}
    parent = processes[pid].parent
    while parent in processes and parent not in seen:
        seen.add(parent)
        above.insert(0, processes[parent])
        parent = processes[parent].parent
    return above


def _processes() -> Iterator[Process]:
    for folder in PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_text(errors="replace")
        except OSError:
            # The process ended while the list was read, or it is hidden.
            continue
        # The name is in brackets, and may contain brackets itself.
        name = stat[stat.index("(") + 1 : stat.rindex(")")]
        state, parent, *_ = stat[stat.rindex(")") + 2 :].split()
        yield Process(int(folder.name), int(parent), state, name)


def _command(process: Process) -> str:
    """The command line, cut where it is long; the name of a process that has none, as kernel threads and zombies."""
    try:
        words = (PROC / str(process.pid) / "cmdline").read_bytes()[: 4 * MAX_COMMAND]
    except OSError:
        # It ended meanwhile, or is hidden.
        words = b""
    text = words.replace(b"\0", b" ").decode(errors="replace").strip()
    if not text:
        return process.command
    return text if len(text) <= MAX_COMMAND else f"{text[: MAX_COMMAND - 3]}..."
