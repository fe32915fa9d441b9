"""Named steps at which a test can have the registrar killed, as a power cut would.

``ADSUM_FAILPOINT=step:token`` kills this process with SIGKILL when it reaches `step`, if it can remove the file
`token`: so exactly one registrar dies, and the next one, which inherits the variable, does not. Unset, a step costs one
comparison.
"""

from __future__ import annotations

import os
import signal

from .ports import Failpoint

STEPS = frozenset(
    {
        "starting",
        "retired",
        "migrating",
        "converted",
        "migrated",
        "sweeping",
        "before_commit",
        "after_commit",
        "replying",
        "before_switch",
        "after_switch",
    }
)


def from_environment() -> Failpoint:
    """The failpoint that the environment asks for."""
    wanted, _, token = os.environ.get("ADSUM_FAILPOINT", "").partition(":")

    def failpoint(step: str) -> None:
        if step == wanted:
            _die_once(token)

    return failpoint


def _die_once(token: str) -> None:
    try:
        os.unlink(token)
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
