"""Code that several folders of tests share: waiting, child processes, registrars, and both kinds of registry behind one
interface."""

from .children import Agent, Child, ChildFailed
from .either import Awaited, Opener
from .internals import let_go, liveness_of, settle
from .registrars import end_registrar, kill_registrar, registrar_pid, remove_folder, stopped
from .type_checker import mypy
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
    "let_go",
    "liveness_of",
    "mypy",
    "registrar_pid",
    "remove_folder",
    "settle",
    "stopped",
]
