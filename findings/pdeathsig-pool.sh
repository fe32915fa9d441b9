#!/usr/bin/env bash
# Pool workers that ask to die with their parent die with the thread that made the first `submit`.
#
# A good engineer guesses: PR_SET_PDEATHSIG in the pool's initializer ends the workers when the parent process ends.
# In fact: the "parent" of that call is the thread that forked. `ProcessPoolExecutor` starts its workers inside the first
# `submit`. Where that came from a short-lived thread (a request handler, `asyncio.to_thread`), the healthy workers are
# killed as soon as the thread ends, and the pool is broken. It is so with fork and with spawn; with forkserver the
# parent is the main thread of the fork server, and the worker lives on.
# It matters because: the usual recipe against orphaned workers kills them at random moments, and a tracker of
# processes reports deaths of which no one can say the reason.
# Source: PR_SET_PDEATHSIG(2const), "the parent is considered to be the thread"; seen with the version below.
. "$(dirname "$0")/prelude"

cat > pools.py <<'EOP'
import ctypes
import multiprocessing
import signal
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def survives_the_thread(method: str) -> bool:
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context, initializer=die_with_parent) as pool:
        thread = threading.Thread(target=lambda: pool.submit(abs, -1).result())
        thread.start()
        thread.join()
        try:
            for _ in range(100):  # the worker needs a moment to die
                pool.submit(abs, -1).result()
                time.sleep(0.01)
        except BrokenProcessPool as error:
            print(f"{method}: {error}")
            return False
        print(f"{method}: the worker lives on")
        return True


if __name__ == "__main__":
    sys.exit([survives_the_thread(method) for method in ("fork", "spawn", "forkserver")] != [False, False, True])
EOP
"$python" pools.py
