#!/usr/bin/env bash
# Python before 3.13: a thread that was joined can take a signal that the program waits for.
#
# A good engineer guesses: after `Thread.join()` the thread is gone. So a program that has joined its threads, and then
# blocks SIGCHLD in the only one that is left, gets every SIGCHLD from `sigwaitinfo`.
# In fact: up to Python 3.12 `join` returns when the thread has let go of its interpreter state; the kernel's thread
# runs on for a moment, with the mask that it had. After many joins /proc/self/task still lists it. The kernel may give
# it a signal of the process that the main thread blocks, and where the disposition is the default one, SIGCHLD is
# discarded there: the child is a zombie, no signal is pending, and `sigwaitinfo` waits for ever. It happens a few
# times in a thousand. From 3.13 on `join` waits for the thread itself.
# It matters because: supervisors and inits wait for SIGCHLD in just this way, after some library has started and ended
# a thread. Block the signals before the first thread starts, or wait until /proc/self/task has one name.
# Source: CPython 3.12, Lib/threading.py, Thread._wait_for_tstate_lock; signal(7): a signal of a process goes to any of
# its threads that does not block it.
. "$(dirname "$0")/prelude"

cat > joined.py <<'EOP'
import os
import signal
import sys
import threading
import time

CHILDREN = 5000


def start_and_join():
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()


def child_at_a_gate():
    gate, opener = os.pipe()
    pid = os.fork()
    if not pid:
        os.read(gate, 1)
        os._exit(0)
    os.close(gate)
    return pid, opener


signal.signal(signal.SIGCHLD, signal.SIG_DFL)
listed = lost = made = 0
until = time.monotonic() + 60
while made < CHILDREN and not (lost and made >= 500) and time.monotonic() < until:
    made += 1
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    pid, opener = child_at_a_gate()
    start_and_join()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    # Every other time, so that the look does not give the thread the time to end.
    listed += made % 2 and len(os.listdir("/proc/self/task")) > 1
    os.write(opener, b"!")
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    lost += signal.sigtimedwait({signal.SIGCHLD}, 0.05) is None
    os.waitpid(pid, 0)
    os.close(opener)
print(
    f"Python {sys.version.split()[0]}: after {(made + 1) // 2} joins the thread was still listed {listed} times; "
    f"of {made} ends of a child {lost} gave no SIGCHLD"
)
sys.exit(not (listed and lost))
EOP
older=
for name in python3.11 python3.12 python3; do
    "$name" -c 'import sys; sys.exit(sys.version_info >= (3, 13))' 2> /dev/null && older=$name && break
done
[ -n "$older" ] || missing "a Python before 3.13"
"$older" -W ignore joined.py
for name in python3.13 python3.14; do
    "$name" -c '' 2> /dev/null && { "$name" joined.py || true; }
done
exit 0
