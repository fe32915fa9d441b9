#!/usr/bin/env bash
# lslocks and /proc/locks name a dead process as the holder of a lock that is held.
#
# A good engineer guesses: the pid in /proc/locks is the process to end if one wants the lock.
# In fact: for flock it is the process that *took* the lock. The lock belongs to the open file description; a forked
# child that still has the descriptor keeps it after its parent has died, and the dead parent's pid is shown on. The
# process that holds the lock appears nowhere; it is found only by looking through /proc/*/fd.
# It matters because: a daemon that was killed cannot be started again ("already running"), and every tool names a
# process that does not exist, or a stranger that has its number by now.
# Source: flock(2); proc_locks(5); fs/locks.c, lock_get_status.
. "$(dirname "$0")/prelude"

"$python" - <<'EOP'
import fcntl
import os
import signal
import sys

ready_read, ready_write = os.pipe()
leave_read, leave_write = os.pipe()
owner = os.fork()
if owner == 0:
    lock = open("daemon.lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    if os.fork() == 0:
        os.close(leave_write)
        os.write(ready_write, b"%d" % os.getpid())
        os.read(leave_read, 1)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(owner, 0)
worker = int(os.read(ready_read, 20))
try:
    with open("daemon.lock", "w") as again:
        inode = os.fstat(again.fileno()).st_ino
        shown = [row.split() for row in open("/proc/locks") if row.split()[5].endswith(f":{inode}")]
        try:
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = False
        except BlockingIOError:
            held = True
finally:
    os.close(leave_write)
print(f"owner {owner} was killed (exists: {os.path.exists(f'/proc/{owner}')}); its child {worker} has the descriptor")
print(f"the lock is still held: {held}; /proc/locks: {[' '.join(row) for row in shown]}")
sys.exit(not (held and [row[4] for row in shown] == [str(owner)]))
EOP
