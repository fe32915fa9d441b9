#!/usr/bin/env bash
# Of the robust mutexes that a killed process held, only 2,048 are ever given back.
#
# A good engineer guesses: a robust mutex is what its name says: when its holder dies, the next one who locks it gets
# EOWNERDEAD.
# In fact: glibc puts each held robust mutex in front of a list, and the kernel walks at most 2,048 links of that list
# when the thread dies. Whatever was locked before those stays locked by a dead thread, and `trylock` says EBUSY.
# It matters because: robust mutexes in shared memory are the way to let the kernel itself mark a dead process; one
# holder of a few thousand loses the oldest of them, without an error when they are taken.
# Source: include/uapi/linux/futex.h, ROBUST_LIST_LIMIT; kernel/futex/core.c, exit_robust_list.
. "$(dirname "$0")/prelude"

"$python" - <<'EOP'
import ctypes
import errno
import mmap
import os
import platform
import signal
import sys
from collections import Counter

COUNT, SLOT = 3000, 64  # bytes for each mutex; pthread_mutex_t has 40 on x86-64 and 48 on AArch64
if platform.libc_ver()[0] != "glibc":
    print("missing: glibc")
    sys.exit(2)
libc = ctypes.CDLL(None)
shared = mmap.mmap(-1, COUNT * SLOT)
first = ctypes.addressof(ctypes.c_char.from_buffer(shared))
mutexes = [ctypes.c_void_p(first + SLOT * number) for number in range(COUNT)]
attributes = ctypes.create_string_buffer(64)
libc.pthread_mutexattr_init(attributes)
libc.pthread_mutexattr_setpshared(attributes, 1)
libc.pthread_mutexattr_setrobust(attributes, 1)
for mutex in mutexes:
    libc.pthread_mutex_init(mutex, attributes)
child = os.fork()
if child == 0:
    failed = any(libc.pthread_mutex_lock(mutex) for mutex in mutexes)
    os.kill(os.getpid(), signal.SIGTERM if failed else signal.SIGKILL)
took_all = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
answers = [errno.errorcode[libc.pthread_mutex_trylock(mutex)] for mutex in mutexes]
print(f"glibc {platform.libc_ver()[1]}: a process that held {COUNT} (all locked: {took_all}) was killed")
print(f"pthread_mutex_trylock afterwards: {dict(Counter(answers))}")
expected = ["EBUSY"] * (COUNT - 2048) + ["EOWNERDEAD"] * 2048
sys.exit(not (took_all and answers == expected))
EOP
