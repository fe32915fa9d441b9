"""Faults: what can happen to a batch on its way into the tables."""

from __future__ import annotations

from typing import Literal, TypeAlias

from adsum.errors import RegistryFull

from .world import Crash, Injection

# What happens to a batch: its replies are read, or wait in the registrar; the registrar is killed before its commit or
# before its replies; the memory is full at the first attempt to commit, or at every one; the registrar is stopped for
# 15 seconds between its decision and the commit.
Fault: TypeAlias = Literal[
    "answered", "unread", "killed_before", "killed_after", "no_room", "no_room_at_all", "stopped"
]
FAULTS: tuple[Fault, ...] = (
    "answered",
    "unread",
    "killed_before",
    "killed_after",
    "no_room",
    "no_room_at_all",
    "stopped",
)


def injections_of(fault: Fault) -> dict[str, list[Injection]]:
    """The injections at each step that make this fault."""
    full = RegistryFull("the memory is full")
    match fault:
        case "killed_before":
            return {"before_commit": [Crash()]}
        case "killed_after":
            return {"after_commit": [Crash()]}
        case "no_room":
            return {"before_commit": [full]}
        case "no_room_at_all":
            return {"before_commit": [full, full]}
        case "stopped":
            return {"before_commit": [15.0]}
        case "answered" | "unread":
            return {}
