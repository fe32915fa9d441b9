"""How a child of this process ended, learned without reaping it: that is the business of the program."""

from __future__ import annotations

import os

from .._foreign import reraise_foreign
from .pidfd import read_exit

# Not in `os` where Python was compiled with old headers (waitid(2), Linux 5.4).
_P_PIDFD = getattr(os, "P_PIDFD", 3)


def exit_of_child(pidfd: int, pid: int) -> int | None:
    """The exit code of an ended child, or the negative number of the signal that ended it; None where it is not known.

    Until the program has reaped the child, the kernel says it to its parent as often as that asks (WNOWAIT). From then
    on only a kernel from Linux 6.15 on says it.
    """
    try:
        result = os.waitid(_P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except OSError as error:
        # It is no child of this process, or was reaped.
        reraise_foreign(error)
        return read_exit(pidfd)
    if result is None or result.si_pid != pid:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
