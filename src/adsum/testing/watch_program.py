"""Ends the programs of a test where the process of the test is killed. `Watcher` starts it, as a file of its own.

It reads their pids from standard input, one a line, and answers each with a line. A pidfd shows the end of the process
that started it: children of the tests may have standard input open too, and PR_SET_PDEATHSIG (prctl(2)) would mean the
end of a thread.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys


def main() -> None:
    """Watch until the process of the test has ended, or closes standard input; then kill what has not ended."""
    parent = int(sys.argv[1])
    end = os.pidfd_open(parent)
    watched: list[int] = []
    if os.getppid() == parent:
        ready = select.poll()
        for descriptor in (end, 0):
            ready.register(descriptor, select.POLLIN)
        while not any(descriptor == end for descriptor, _ in ready.poll()) and (line := os.read(0, 64)):
            # The test has not reaped it, and waits for the answer: the number is that process.
            watched.append(os.pidfd_open(int(line)))
            os.write(1, b"\n")
    for pidfd in watched:
        # It has ended, or runs as another user.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)


if __name__ == "__main__":
    main()
