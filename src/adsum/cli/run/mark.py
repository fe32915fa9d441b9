"""The mark of `adsum run` on what it starts: an environment variable with the identity of the `adsum run`.

A child inherits it, and so do the children of the child. So `adsum doctor --orphans` finds all that a program of
`adsum run` has started and left behind, whether or not it is registered. A program that empties the environment of its
children takes the mark from them.
"""

from __future__ import annotations

import os

from ... import admin
from ...model import Owner
from .. import processes

VARIABLE = "ADSUM_RUN"


def marked_environment() -> dict[str, str]:
    """The environment of a program that this process starts."""
    return {**os.environ, VARIABLE: ".".join(map(str, admin.require_platform()))}


def supervisor_of(pid: int) -> Owner | None:
    """The `adsum run` that a process comes from; None where it comes from none, or that cannot be read."""
    value = processes.variable(pid, VARIABLE)
    if value is None:
        return None
    numbers = value.split(".")
    if len(numbers) != len(Owner._fields) or not all(number.isdecimal() for number in numbers):
        return None
    return Owner(*map(int, numbers))
