#!/usr/bin/env bash
# Python 3.14: an exception from a signal handler can leave `with lock:` with the lock held.
#
# A good engineer guesses: `with lock:` gives the lock back however the block is left; a signal handler's exception comes
# before the lock is taken or inside the block.
# In fact: in Python 3.10 to 3.13 no signal is handled in between. In 3.14 one may be: the handler may run
# after `__enter__` has taken the lock and before the block begins, so `__exit__` is never called. In a loop that does
# little else it happens for every second or third signal. The lock stays locked by code that has left it.
# It matters because: Ctrl-C, `signal.alarm` time limits and handlers that raise SystemExit are ordinary; after one of
# them the next `acquire` without a timeout waits for ever, in a library that did everything right.
# Source: CPython issue 148874; seen with the versions below (3.11 is printed for comparison where it is python3).
. "$(dirname "$0")/prelude"

cat > interrupt.py <<'EOP'
import signal
import sys
import threading
import time


class Interrupted(Exception):
    pass


def interrupt(number, frame):
    raise Interrupted


def work(lock):
    while True:
        with lock:
            pass


signal.signal(signal.SIGALRM, interrupt)
lock = threading.Lock()
signals = left_locked = 0
deadline = time.monotonic() + 3
while time.monotonic() < deadline:
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0003)
        work(lock)
    except Interrupted:
        signals += 1
    if not lock.acquire(timeout=0.01):
        left_locked += 1
    lock.release()
print(f"Python {sys.version.split()[0]}: {signals} signals, lock left locked {left_locked} times")
sys.exit(left_locked == 0)
EOP
"$python" - < interrupt.py || true
newest=
for name in python3.14 python3; do
    "$name" -c 'import sys; sys.exit(sys.version_info < (3, 14))' 2> /dev/null && newest=$name && break
done
[ -n "$newest" ] || missing "Python 3.14"
"$newest" - < interrupt.py
