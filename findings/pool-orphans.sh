#!/usr/bin/env bash
# Of the two process pools in the standard library, one leaves its workers behind when the parent is killed.
#
# A good engineer guesses: workers wait on a pipe from their parent; when the parent is killed they read its end and
# leave. At least, the two pools of one library behave the same.
# In fact: workers of `multiprocessing.Pool` leave (its parent alone holds the end that they would read from), and so do
# billiard's. Workers of `concurrent.futures.ProcessPoolExecutor` each hold the writing end of their own queue too, so
# its end never comes: they sit idle under init for ever, with their memory and every descriptor that they inherited,
# whatever the start method.
# It matters because: each SIGKILL of such a program (the OOM killer, a supervisor's last resort) leaves a set of
# living processes without any work. A registry shows them, rightly, as alive.
# Source: multiprocessing/pool.py, worker(): it closes the other ends; concurrent/futures/process.py does not.
. "$(dirname "$0")/prelude"
install billiard==4.3.2

cat > pools.py <<'EOP'
import ctypes
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import billiard

PR_SET_CHILD_SUBREAPER = 36
METHODS = ("fork", "spawn", "forkserver")


def pid(number: int) -> int:
    time.sleep(0.1)
    return os.getpid()


def start_workers_and_die(kind: str, method: str) -> None:
    if kind == "ProcessPoolExecutor":
        pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method))
    elif kind == "multiprocessing.Pool":
        pool = multiprocessing.get_context(method).Pool(2)
    else:
        pool = billiard.Pool(2)
    pids: set[int] = set()
    while len(pids) < 2:  # the second worker may be late
        pids.update(pool.map(pid, range(4)))
    print(*pids, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def end_children() -> None:
    """End what the killed parent has left to this process, its subreaper: workers and the fork server.

    A resource tracker ends by itself when they are gone, and removes their semaphores from /dev/shm.
    """
    while children := Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        others = [child for child in children if b"_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes()]
        for child in map(int, others):
            os.kill(child, signal.SIGKILL)
        os.waitpid(int((others or children)[0]), 0)


def orphans(kind: str, method: str) -> str:
    """How many of the workers live on when their parent has been killed; all are ended here."""
    command = [sys.executable, __file__, kind, method]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        pidfds = []
        workers = parent.stdout.readline().split()
        for worker in workers:
            try:
                pidfds.append(os.pidfd_open(int(worker)))
            except ProcessLookupError:
                pass  # it has left already
        parent.wait()
        deadline = time.monotonic() + 2
        alive = [fd for fd in pidfds if not select.select([fd], [], [], max(0, deadline - time.monotonic()))[0]]
        for fd in pidfds:
            os.close(fd)
    end_children()
    print(f"{kind}, {method}: {len(alive)} of {len(workers)} workers live on")
    return "all" if len(alive) == len(workers) > 0 else "none" if not alive else "some"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        start_workers_and_die(*sys.argv[1:])
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    executors = {orphans("ProcessPoolExecutor", method) for method in METHODS}
    pools = {orphans("multiprocessing.Pool", method) for method in METHODS} | {orphans("billiard.Pool", "fork")}
    sys.exit(not (executors == {"all"} and pools == {"none"}))
EOP
"$python" pools.py
