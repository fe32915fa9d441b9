#!/usr/bin/env bash
# Linux: while a thread calls exec, each number in /proc/PID/task may show a thread that is ending, and the process lives.
#
# A good engineer guesses: a process all of whose threads have PF_EXITING in /proc/PID/task/TID/stat, read one after the
# other, is ending if no other thread is listed afterwards: nothing brings it back.
# In fact: a thread that is not the first one and calls exec takes the number of the first thread, which ends. For a
# moment the one that ends is listed under the other number. A look that reads the first number before the exchange and
# the second one after it sees the same ending thread twice, and the new program is already running. A thread that is
# gone by the time it is read is no proof either: it may be the one that goes on under the first number.
# It matters because: supervisors and debuggers tell a process that is being torn down from one that runs by these
# flags. Look at all threads a second time: one exec exchanges numbers once.
# Source: Linux, fs/exec.c (de_thread), kernel/pid.c (exchange_tids); execve(2).
. "$(dirname "$0")/prelude"

cat > program.py <<'EOP'
import ctypes
import os
import sys
import threading
import time


def run_again():
    time.sleep(0.02)
    os.execv(sys.executable, [sys.executable, "-S", sys.argv[0]])


threading.Thread(target=run_again).start()
# The first thread ends; the process goes on.
ctypes.CDLL(None).pthread_exit(None)
EOP
cat > looks.py <<'EOP'
import os
import subprocess
import sys
import time

PF_EXITING = 0x4


def is_ending(pid, thread):
    try:
        with open(f"/proc/{pid}/task/{thread}/stat", "rb") as file:
            return bool(int(file.read().rpartition(b")")[2].split()[6]) & PF_EXITING)
    except (FileNotFoundError, ProcessLookupError):
        return False


def threads_of(pid):
    return sorted(os.listdir(f"/proc/{pid}/task"))


def all_are_ending(pid, times):
    before = threads_of(pid)
    return all(is_ending(pid, thread) for _ in range(times) for thread in before) and set(before).issuperset(threads_of(pid))


process = subprocess.Popen([sys.executable, "-S", "program.py"])
once = twice = looks = 0
until = time.monotonic() + 180
while not once or time.monotonic() < until - 160:
    if process.poll() is not None or time.monotonic() > until:
        break
    looks += 1
    once += all_are_ending(process.pid, 1)
    twice += all_are_ending(process.pid, 2)
lives = process.poll() is None
process.kill()
process.wait()
print(
    f"Linux {os.uname().release}: {looks} looks at a process that lives and calls exec from a thread again and again: "
    f"all threads seen to be ending {once} times, twice in a row {twice} times"
)
sys.exit(not (lives and once and not twice))
EOP
python3 looks.py
