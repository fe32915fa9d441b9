"""Named steps at which a test can have the registrar killed, as a power cut would.

``ADSUM_FAILPOINT=step:token`` kills this process with SIGKILL when it reaches `step`, if it can remove the file
`token`: so exactly one registrar dies, and the next one, which inherits the variable, lives. Unset, a step costs one
comparison.
"""

from __future__ import annotations

import os
import signal

STEPS = frozenset(
    {"starting", "sweeping", "before_commit", "after_commit", "replying", "before_switch", "after_switch"}
)

_step, _, _token = os.environ.get("ADSUM_FAILPOINT", "").partition(":")


def failpoint(step: str) -> None:
    """Die here if a test asked for it."""
    if step == _step:
        try:
            os.unlink(_token)
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)
