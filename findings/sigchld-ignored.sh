#!/usr/bin/env bash
# One death by SIGKILL, five answers: success, 255, unknown, and twice "still alive".
#
# A good engineer guesses: however the exit status of a child is asked for, the answers agree, and none says that a
# killed program succeeded.
# In fact: where SIGCHLD is ignored, which a process inherits over exec from whatever started it, the kernel keeps no
# status, and each library fills the gap in its own way: `subprocess` says 0, asyncio 255, psutil None;
# multiprocessing and Celery's billiard say that the child is alive, for ever.
# It matters because: a job runner counts a killed job as done, and a pool never replaces the dead worker. Ask a pidfd
# for the death; for a status, give SIGCHLD its default action before the first child.
# Source: wait(2), Notes; execve(2): ignored signals stay ignored; seen with the versions below.
. "$(dirname "$0")/prelude"
install psutil==7.2.2 billiard==4.3.2

cat > statuses.py <<'EOP'
import asyncio
import logging
import multiprocessing
import os
import select
import signal
import subprocess
import sys

import billiard
import psutil

COMMAND = ["sh", "-c", "kill -KILL $$"]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def pool_child(module) -> tuple:
    child = module.get_context("fork").Process(target=die)
    child.start()
    poller = select.poll()
    try:
        poller.register(os.pidfd_open(child.pid), select.POLLIN)
        poller.poll(5000)
    except ProcessLookupError:
        pass  # dead and gone already
    child.join(1)
    return child.exitcode, child.is_alive()


async def by_asyncio() -> int:
    child = await asyncio.create_subprocess_exec(*COMMAND)
    return await child.wait()


logging.disable()
answers = {
    "subprocess": subprocess.Popen(COMMAND).wait(),
    "asyncio": asyncio.run(by_asyncio()),
    "psutil": psutil.Popen(COMMAND).wait(),
    "multiprocessing": pool_child(multiprocessing),
    "billiard": pool_child(billiard),
}
for name, answer in answers.items():
    print(f"{name}: {answer}" + (" (exitcode, is_alive)" if isinstance(answer, tuple) else ""))
expected = [0, 255, None, (None, True), (None, True)]
sys.stdout.flush()
os._exit(list(answers.values()) != expected)  # both modules would wait for their children at exit
EOP
(trap '' CHLD && "$python" statuses.py)
