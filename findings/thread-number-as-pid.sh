#!/usr/bin/env bash
# A stale pid file whose number is a thread's number by now passes for a running service.
#
# A good engineer guesses: `kill(pid, 0)` succeeds, or /proc/PID exists, only if a process has that number.
# In fact: threads are numbered from the same pool. `kill` accepts a thread's number and signals its whole process, and
# /proc/TID can be opened though no listing shows it. gunicorn's check of its pid file answers "already running" for
# such a number; `pidfd_open` refuses it (ENOENT, older kernels EINVAL), and psutil, which reads Tgid, says no.
# It matters because: on a machine with thousands of threads most reused numbers are threads'. A pid file then stops a
# service from starting, and `kill $(cat file)` ends a process that never had that number.
# Source: proc_tid(5); kernel/signal.c, kill_proc_info; pidfd_open(2), ERRORS; seen with the versions below.
. "$(dirname "$0")/prelude"
install gunicorn==27.0.1 psutil==7.2.2

"$python" - <<'EOP'
import errno
import os
import sys
import threading
from pathlib import Path

import psutil
from gunicorn.pidfile import Pidfile

leave = threading.Event()
thread = threading.Thread(target=leave.wait)
thread.start()
number = thread.native_id
try:
    os.kill(number, 0)
    killable = True
except ProcessLookupError:
    killable = False
opened, listed = Path(f"/proc/{number}/stat").exists(), str(number) in os.listdir("/proc")
Path("service.pid").write_text(str(number))
running = Pidfile("service.pid").validate()
try:
    pidfd = os.pidfd_open(number)
except OSError as error:
    pidfd = errno.errorcode[error.errno]
by_psutil = psutil.pid_exists(number)
leave.set()
thread.join()
print(f"process {os.getpid()}, its thread {number}: kill(number, 0) succeeds {killable}, /proc/number exists {opened}")
print(f"listed in /proc {listed}; gunicorn says that it is running: {running}")
print(f"pidfd_open: {pidfd}; psutil.pid_exists: {by_psutil}")
told_apart = pidfd in ("ENOENT", "EINVAL") and not by_psutil and not listed
sys.exit(not (killable and opened and running == number and told_apart))
EOP
