#!/usr/bin/env bash
# `socket.recv(262144)` maps and unmaps memory at each call, however few bytes come; `socket.recv(65536)` does not.
#
# A good engineer guesses: the size is an upper bound and costs nothing; a larger one saves calls.
# In fact: CPython makes a bytes object of that size before it asks the kernel, and shrinks it afterwards. From 128 KiB on
# malloc(3) takes such memory from the kernel, so each call maps it, touches it, moves it and unmaps it. The threshold of
# malloc rises when mapped memory of that size is freed, which helps other programs; here it never is, because the
# object is small when it is freed.
# It matters because: a server that answers short requests makes three more system calls and takes a page fault for each
# of them. `recv_into` with one buffer has none of it.
# Source: `sock_recv` in Modules/socketmodule.c; M_MMAP_THRESHOLD in mallopt(3); seen with the versions below.
. "$(dirname "$0")/prelude"

"$python" - <<'EOP'
import platform
import resource
import socket
import sys

here, there = socket.socketpair()


def faults(size: int) -> int:
    """The page faults of a thousand short messages."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(1000):
        there.send(b"a short request")
        here.recv(size)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


faults(65536)
small, large = faults(65536), faults(262144)
print(platform.python_implementation(), platform.python_version(), platform.libc_ver())
print(f"page faults of 1,000 calls: recv(65536) {small}, recv(262144) {large}")
sys.exit(not (small < 100 and large >= 1000))
EOP
