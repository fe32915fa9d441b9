#!/usr/bin/env bash
# `os.path.sameopenfile` says that an epoll and an eventfd are the same file, and one flock covers both.
#
# A good engineer guesses: device and inode number tell open files apart; two objects that the kernel made by different
# system calls are different files.
# In fact: epoll, eventfd, timerfd and many others share one single inode of the whole machine. They compare equal, and a
# flock on one of them excludes a flock on any other, in any process. Pidfds were among them until Linux 6.9; since then
# each process has an inode of its own, equal for all pidfds of it. So flock on a pidfd is a machine-wide lock "about"
# that process, which needs no file and no name.
# It matters because: `st_ino` of a pidfd is an identity that a reused pid cannot have, from 6.9 on; before, comparing
# it says "the same process" for any two. Test it by two pidfds that must differ, not by the release number.
# Source: fs/anon_inodes.c; pidfd_open(2); Linux 6.9, fs/pidfs.c.
. "$(dirname "$0")/prelude"
needs_linux 6.9

"$python" - <<'EOP'
import ctypes
import fcntl
import os
import select
import subprocess
import sys


def also_locks(first: int, second: int) -> bool:
    fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(second, fcntl.LOCK_UN)
        return True
    except BlockingIOError:
        return False
    finally:
        fcntl.flock(first, fcntl.LOCK_UN)


event = ctypes.CDLL(None).eventfd(0, 0)
epoll_object = select.epoll()
epoll = epoll_object.fileno()
one, other = subprocess.Popen(["sleep", "60"]), subprocess.Popen(["sleep", "60"])
try:
    pidfd, again, different = (os.pidfd_open(child.pid) for child in (one, one, other))
    pairs = {"epoll, eventfd": (epoll, event), "pidfd, same process": (pidfd, again)}
    pairs["pidfd, other process"] = (pidfd, different)
    seen = {name: (os.path.sameopenfile(*pair), also_locks(*pair)) for name, pair in pairs.items()}
finally:
    for child in (one, other):
        child.kill()
        child.wait()
for name, (same, both) in seen.items():
    print(f"{name}: sameopenfile {same}, both locked at once {both}")
sys.exit(list(seen.values()) != [(True, False), (True, False), (False, True)])
EOP
