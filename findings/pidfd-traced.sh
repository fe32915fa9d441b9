#!/usr/bin/env bash
# Under a debugger a process is dead to a pidfd and alive to its own parent.
#
# A good engineer guesses: the parent is the first to know; when a pidfd says dead, `waitpid` (or `Popen.poll`) says so
# too.
# In fact: while a tracer that is not the parent has not yet waited for the process, the pidfd is readable and /proc
# shows a zombie, but the parent's `waitpid(WNOHANG)` answers 0, "still running". It gets the status only when the
# tracer has waited or ended. A debugger that sits at a prompt keeps this up for as long as it likes.
# It matters because: two truths about one death differ for minutes; a supervisor that asks `Popen.poll` does not
# restart a process that a registry has already removed; and a blocking `waitpid` after a readable pidfd may block.
# Source: ptrace(2), "Death under ptrace"; kernel/exit.c, wait_consider_task.
. "$(dirname "$0")/prelude"

"$python" - <<'EOP'
import ctypes
import os
import select
import signal
import subprocess
import sys

PTRACE_SEIZE = 0x4206

child = subprocess.Popen(["sleep", "60"])
ready_read, ready_write = os.pipe()
leave_read, leave_write = os.pipe()
tracer = os.fork()
if tracer == 0:
    os.close(leave_write)
    libc = ctypes.CDLL(None)
    libc.ptrace.argtypes = [ctypes.c_long] * 4
    os.write(ready_write, b"y" if libc.ptrace(PTRACE_SEIZE, child.pid, 0, 0) == 0 else b"n")
    os.read(leave_read, 1)
    os._exit(0)
allowed = os.read(ready_read, 1) == b"y"
poller = select.poll()
poller.register(os.pidfd_open(child.pid), select.POLLIN)
child.send_signal(signal.SIGKILL)
readable = bool(poller.poll(5000))
parent_while_traced = child.poll()
os.close(leave_write)
os.waitpid(tracer, 0)
parent_afterwards = child.wait(5)
if not allowed:
    print("missing: leave to trace")
    sys.exit(2)
print(f"killed under a tracer: pidfd readable: {readable}, the parent's Popen.poll(): {parent_while_traced}")
print(f"when the tracer has ended, Popen.wait(): {parent_afterwards}")
sys.exit(not (readable and parent_while_traced is None and parent_afterwards == -signal.SIGKILL))
EOP
