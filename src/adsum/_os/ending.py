"""Whether a process is ending: no thread of it will run its program again.

A process that is killed or exits first frees its memory, then closes its files; only after that is its pidfd readable,
one or two milliseconds later, and far later where it had much memory. Meanwhile it answers no request, and nothing
brings it back. Two facts in `/proc/PID/task/TID/stat` (proc(5)) show that a thread is past its last step:

- `PF_EXITING` in its flags, field 9 (linux/sched.h): it is in `do_exit`.
- a SIGKILL among its own pending signals, field 31: the kernel gives one to every thread when it ends all of a process
  (`complete_signal` and `zap_other_threads` in kernel/signal.c), and a thread with one starts no other (`fork` fails).

A process that dumps its core is not ending until the core is written: the thread that dumps has neither.
"""

from __future__ import annotations

import contextlib
import os

from .._foreign import reraise_foreign

_PF_EXITING = 0x4
_SIGKILL = 1 << 8
# Among the fields that follow the command, the second one, which may have spaces: field 9 and field 31.
_FLAGS, _PENDING = 6, 28
# Threads that end disappear while they are being looked at: each of them once, for an ending process starts no others.
_TRIES = 100


def is_ending(pid: int) -> bool:
    """Whether all threads of the process `pid` are past their last step. False where that cannot be known: unknown is
    never dead."""
    try:
        for _ in range(_TRIES):
            with contextlib.suppress(_Gone):
                return _all_are_past(pid)
    except (OSError, IndexError, ValueError) as error:
        reraise_foreign(error)
    return False


class _Gone(Exception):
    """A thread has ended while it was looked at."""


def _all_are_past(pid: int) -> bool:
    """Whether all threads were seen to be past it, twice. Errors: `_Gone` where one of them has ended meanwhile.

    Once is not enough. A thread that calls exec takes the number of the first thread, which ends, and that one has its
    number for a moment (`exchange_tids` in kernel/pid.c): so the one that ends may be seen under both numbers, but not
    a second time. For the same reason a thread that is gone since the listing proves nothing.
    """
    threads = _threads_of(pid)
    seen_twice = all(_is_past(pid, thread) for _ in range(2) for thread in threads)
    # Those that are listed afterwards were all seen to be past it, so none of them has started another.
    return seen_twice and threads.issuperset(_threads_of(pid))


def _threads_of(pid: int) -> set[str]:
    return set(os.listdir(f"/proc/{pid}/task"))


def _is_past(pid: int, thread: str) -> bool:
    try:
        with open(f"/proc/{pid}/task/{thread}/stat", "rb", buffering=0) as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError) as error:
        reraise_foreign(error)
        raise _Gone from error
    return bool(int(fields[_FLAGS]) & _PF_EXITING or int(fields[_PENDING]) & _SIGKILL)
