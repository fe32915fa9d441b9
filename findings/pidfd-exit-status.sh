#!/usr/bin/env bash
# A stranger can read the exit status of any process from its pidfd, but not at the moment when the pidfd reports it.
#
# A good engineer guesses: only the parent learns an exit status; or, who knows of PIDFD_GET_INFO: it has the status as
# soon as the pidfd is readable.
# In fact: since Linux 6.15 whoever holds a pidfd gets the status. But when poll says readable, the process is a zombie,
# and the answer is that of a living process: pid and credentials, no status, no error. It comes when the parent has
# waited (POLLHUP): then the status is there, and pid and credentials are not. A watcher that asks once at POLLIN never
# learns it.
# It matters because: a registry can say *how* a process ended that is not its child, if it waits for the second event,
# which may take for ever with a careless parent.
# Source: include/uapi/linux/pidfd.h, PIDFD_INFO_EXIT; fs/pidfs.c, pidfd_info.
. "$(dirname "$0")/prelude"
needs_linux 6.15

"$python" - <<'EOP'
import fcntl
import os
import select
import signal
import struct
import subprocess
import sys

SIZE = 64  # struct pidfd_info, first version
PIDFD_GET_INFO = 3 << 30 | SIZE << 16 | 0xFF << 8 | 11
PIDFD_INFO_PID, PIDFD_INFO_EXIT = 1 << 0, 1 << 3


def ask(pidfd: int) -> tuple[bool, int | None]:
    """Whether the answer has the pid, and the exit code, if it has one."""
    answer = bytearray(SIZE)
    struct.pack_into("Q", answer, 0, PIDFD_INFO_PID | PIDFD_INFO_EXIT)
    fcntl.ioctl(pidfd, PIDFD_GET_INFO, answer)
    mask, status = struct.unpack_from("Q", answer)[0], struct.unpack_from("i", answer, 60)[0]
    code = os.waitstatus_to_exitcode(status) if mask & PIDFD_INFO_EXIT else None
    return bool(mask & PIDFD_INFO_PID), code


parent_code = """
import subprocess, sys
child = subprocess.Popen(["sh", "-c", "read line; exit 7"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
sys.stdin.readline()
child.stdin.close()
sys.stdin.readline()
child.wait()
sys.stdin.readline()
"""
parent = subprocess.Popen([sys.executable, "-c", parent_code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
pidfd = os.pidfd_open(int(parent.stdout.readline()))
poller = select.poll()
poller.register(pidfd, select.POLLIN)
answers = {"alive": ask(pidfd)}
parent.stdin.write(b"\n")  # end your child
first = poller.poll(5000)[0][1]
answers["readable"] = ask(pidfd)
poller.modify(pidfd, 0)
parent.stdin.write(b"\n")  # wait for it
second = poller.poll(5000)[0][1]
answers["waited for"] = ask(pidfd)
parent.stdin.close()
parent.wait()
parent.stdout.close()
print(f"events: POLLIN {bool(first & select.POLLIN)}, then POLLHUP {bool(second & select.POLLHUP)}")
for when, (has_pid, code) in answers.items():
    print(f"{when}: has the pid {has_pid}, exit code {code}")
sys.exit(list(answers.values()) != [(True, None), (True, None), (False, 7)])
EOP
