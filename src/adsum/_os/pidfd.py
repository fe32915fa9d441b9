"""pidfd_open(2) and pidfd_send_signal(2), also where this Python was built without them.

`os.pidfd_open` and `signal.pidfd_send_signal` exist if the headers that Python was compiled with had the calls,
whatever the kernel can do. Standalone builds are compiled with old headers, to run on old systems. There the calls go
through syscall(2), by number.
"""

from __future__ import annotations

import errno
import functools
import os
import platform
import signal
from collections.abc import Callable
from typing import Any

# The same on every architecture that came after alpha and mips, whose numbers begin elsewhere (Linux:
# arch/*/kernel/syscalls/syscall.tbl).
_PIDFD_SEND_SIGNAL, _PIDFD_OPEN = 424, 434
_OTHER_NUMBERS = ("alpha", "mips")


def send_signal(pidfd: int, number: signal.Signals) -> None:
    """Send a signal to the process of a pidfd. Errors: the kernel's `OSError`."""
    if hasattr(signal, "pidfd_send_signal"):
        signal.pidfd_send_signal(pidfd, number)
    else:
        _call(_PIDFD_SEND_SIGNAL, pidfd, number, 0, 0)


def _open_by_number(pid: int, flags: int = 0) -> int:
    if not -(2**31) <= pid < 2**31:
        raise OverflowError(f"pid {pid} does not fit a C int")
    return _call(_PIDFD_OPEN, pid, flags)


def _call(number: int, *arguments: int) -> int:
    import ctypes

    result = int(_syscall()(*(ctypes.c_long(one) for one in (number, *arguments))))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


@functools.cache
def _syscall() -> Callable[..., Any]:
    if platform.machine().startswith(_OTHER_NUMBERS):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    import ctypes  # It takes milliseconds, and few Pythons need it.

    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    return call


# A pidfd of a process, close-on-exec, given the pid and flags. Errors: the kernel's `OSError`; `OverflowError` where
# the pid is no C int. Python's own function where it has it: an interrupt between that and a wrapper's return would
# lose the descriptor.
open_pidfd: Callable[..., int] = getattr(os, "pidfd_open", _open_by_number)
