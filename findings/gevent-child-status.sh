#!/usr/bin/env bash
# With gevent, the exit status of your own child is gone before you ask its pidfd.
#
# A good engineer guesses: a child stays a zombie until its parent waits for it, so `waitid(P_PIDFD)` on a readable pidfd
# gives its status.
# In fact: after `monkey.patch_all()`, the first use of `subprocess` installs libev's SIGCHLD handler, which waits for
# every child of the process, also for those that gevent did not start. `os.waitpid` is patched to look into gevent's
# table and answers; `os.waitid` is not patched and raises ChildProcessError. C code that waits gets ECHILD likewise.
# It matters because: a program that holds a pidfd to be safe against reused pids loses the zombie that keeps the pid
# from being reused, and learns no exit status.
# Source: gevent.os, "waitpid"; libev, ev_child; seen with the versions below.
. "$(dirname "$0")/prelude"
install gevent==26.9.0

"$python" - <<'EOP'
from gevent import monkey

monkey.patch_all()

import os
import subprocess
import sys
import time

deadline = time.monotonic() + 10
pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 7"], os.environ)
pidfd = os.pidfd_open(pid)
subprocess.run(["true"], check=True)
while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
    time.sleep(0.01)
try:
    by_pidfd = str(os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG))
except ChildProcessError as error:
    by_pidfd = repr(error)
by_pid = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(f"os.waitid(P_PIDFD): {by_pidfd}")
print(f"os.waitpid, as gevent has patched it: exit code {by_pid}")
sys.exit(not ("ChildProcessError" in by_pidfd and by_pid == 7))
EOP
