#!/usr/bin/env bash
# `subprocess.Popen` in one thread can take as long as an unrelated child lives that another thread forks meanwhile.
#
# A good engineer guesses: Popen returns once the program runs; its pipes are close-on-exec, and it is safe with threads.
# In fact: Popen reads a pipe to its end, and the end comes when the last copy of the writing end is closed. A child that
# another thread forks in that millisecond has a copy. Close-on-exec helps in no child that does not exec: a worker of
# multiprocessing or of a preforking server. Popen returns when that worker ends: an hour later, or never. Where a
# library starts its helper process in a thread while the program makes its pool, that thread hangs with its locks.
# It matters because: the thread shows no error, and a time-out of `communicate` or `wait` comes too late.
# Source: CPython 3.11 to 3.14, Lib/subprocess.py, _execute_child (errpipe_read); fork(2), execve(2).
. "$(dirname "$0")/prelude"

"$python" -W ignore - <<'EOP'
import os
import subprocess
import sys
import threading
import time

LIFE = 1.0
spent: list[float] = []
stop = threading.Event()


def start_programs() -> None:
    while not stop.is_set():
        began = time.monotonic()
        subprocess.Popen(["true"]).wait()
        spent.append(time.monotonic() - began)


def worker() -> int:
    if not (pid := os.fork()):
        time.sleep(LIFE)
        os._exit(0)
    return pid


# So that threads change more often.
sys.setswitchinterval(1e-6)
threading.Thread(target=start_programs, daemon=True).start()
forks = 0
until = time.monotonic() + 60
while max(spent, default=0.0) < LIFE / 2 and time.monotonic() < until:
    children = [worker() for _ in range(5)]
    forks += len(children)
    for child in children:
        os.waitpid(child, 0)
stop.set()
print(f"programs started: {len(spent)}, unrelated children forked: {forks}, each lives {LIFE:g} s")
print(f"usual time of Popen and wait: {sorted(spent)[len(spent) // 2] * 1000:.1f} ms, the longest: {max(spent):.2f} s")
sys.exit(max(spent) < LIFE / 2)
EOP
