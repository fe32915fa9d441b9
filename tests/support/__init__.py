"""Shared helpers of the tests: waiting, child processes, registrars, and one interface to both kinds of registry."""

from .children import Agent, Child, ChildFailed
from .either import Awaited, Opener
from .internals import liveness_of
from .registrars import end_registrar, kill_registrar, registrar_pid, stopped
from .waiting import WITHIN, eventually, eventually_awaited

__all__ = [
    "WITHIN",
    "Agent",
    "Awaited",
    "Child",
    "ChildFailed",
    "Opener",
    "end_registrar",
    "eventually",
    "eventually_awaited",
    "kill_registrar",
    "liveness_of",
    "registrar_pid",
    "stopped",
]
