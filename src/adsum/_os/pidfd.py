"""pidfd_open(2) and pidfd_send_signal(2), also where this Python was built without them.

`os.pidfd_open` and `signal.pidfd_send_signal` exist if the headers that Python was compiled with had the calls,
whatever the kernel can do. Standalone builds are compiled with old headers, to run on old systems. There the calls go
through syscall(2), by number.
"""

import errno
import fcntl
import functools
import os
import platform
import signal
import struct
from collections.abc import Callable
from typing import Any

from .._foreign import reraise_foreign

# The same on every architecture that came after alpha and mips, whose numbers begin elsewhere (Linux:
# arch/*/kernel/syscalls/syscall.tbl).
_PIDFD_SEND_SIGNAL, _PIDFD_OPEN = 424, 434
_OTHER_NUMBERS = ("alpha", "mips")

# PIDFD_GET_INFO with the first version of `struct pidfd_info`, 64 bytes: the mask comes first, the exit last
# (linux/include/uapi/linux/pidfd.h). Architectures that number ioctls in another way refuse this one.
_GET_INFO = 0xC040FF0B
_INFO = struct.Struct("=Q52xi")
_INFO_EXIT = 1 << 3


def send_signal(pidfd: int, number: signal.Signals) -> None:
    """Send a signal to the process of a pidfd. Errors: the kernel's `OSError`."""
    if hasattr(signal, "pidfd_send_signal"):
        signal.pidfd_send_signal(pidfd, number)
    else:
        _call(_PIDFD_SEND_SIGNAL, pidfd, number, 0, 0)


def read_exit(pidfd: int) -> int | None:
    """How the process of a pidfd ended: its exit code, or the negative number of a signal. None while it is not reaped,
    where the kernel is older than 6.15, and where no pidfd was open at its end."""
    try:
        mask, status = _read_info(pidfd)
    except OSError as error:
        reraise_foreign(error)
        return None
    return os.waitstatus_to_exitcode(status) if mask & _INFO_EXIT else None


def gives_exits(pidfd: int) -> bool:
    """Whether `read_exit` may know the exit of this process later. From Linux 6.13 on the kernel takes the question; it
    gives exits from 6.15 on, and nothing shows the difference before a process is reaped."""
    try:
        _read_info(pidfd)
    except OSError as error:
        # The process was reaped, and the kernel is older than 6.15; or it does not know the question.
        reraise_foreign(error)
        return False
    return True


def _read_info(pidfd: int) -> tuple[int, int]:
    """The mask and the wait status that the kernel gives. Errors: the kernel's `OSError`."""
    answer = bytearray(_INFO.pack(_INFO_EXIT, 0))
    fcntl.ioctl(pidfd, _GET_INFO, answer)
    mask, status = _INFO.unpack(answer)
    return mask, status


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
