#!/usr/bin/env bash
# A container's init that was killed stays alive for as long as someone outside forgets a zombie.
#
# A good engineer guesses: SIGKILL ends any process at once, unless it hangs in a driver or on a dead disk.
# In fact: the init of a PID namespace first kills all others there and then waits until all their numbers are free. A
# process that came in from outside (`docker exec`, `kubectl exec`, nsenter) is waited for by its parent outside.
# While that parent leaves the zombie, init sits in zap_pid_ns_processes: state S, no CPU, pidfd silent, a second
# SIGKILL without effect.
# It matters because: "killed" and "dead" are apart by as long as a stranger likes, and a restarted service finds the
# name of the first one still held by a process that looks asleep and healthy.
# Source: pid_namespaces(7); kernel/pid_namespace.c, zap_pid_ns_processes.
. "$(dirname "$0")/prelude"
needs_root
needs_command unshare
unshare --pid --fork true || missing "PID namespaces"

"$python" - <<'EOP'
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path


def only_child(pid: int) -> int:
    deadline = time.monotonic() + 5
    while not (children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        if time.monotonic() > deadline:
            sys.exit("no child appeared in time")
        time.sleep(0.01)
    return int(children[0])


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def poll(pidfd: int, seconds: float) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


outer = subprocess.Popen(["unshare", "--pid", "--fork", "sleep", "60"], stderr=subprocess.DEVNULL)
init = only_child(outer.pid)
wait_read, wait_write = os.pipe()
pid_read, pid_write = os.pipe()
namespace = os.open(f"/proc/{init}/ns/pid", os.O_RDONLY)
forgetful = os.fork()
if forgetful == 0:  # the parent outside: its child is in the namespace, and it waits for it only when asked
    os.close(wait_write)
    if ctypes.CDLL(None).setns(namespace, 0) == 0:
        visitor = os.posix_spawnp("sleep", ["sleep", "60"], os.environ)
        os.write(pid_write, b"%d" % visitor)
        os.read(wait_read, 1)
        os.waitpid(visitor, 0)
    os._exit(0)
visitor = int(os.read(pid_read, 20))
init_pidfd, visitor_pidfd = os.pidfd_open(init), os.pidfd_open(visitor)
os.kill(init, signal.SIGKILL)
visitor_dead = poll(visitor_pidfd, 5)
init_dead = poll(init_pidfd, 2)
print(f"SIGKILL to init: visitor dead {visitor_dead}, state {state(visitor)}; init dead {init_dead}, state {state(init)}")
os.close(wait_write)
afterwards = poll(init_pidfd, 5)
print(f"when the visitor's parent has waited: init dead {afterwards}")
os.waitpid(forgetful, 0)
outer.wait()
sys.exit(not (visitor_dead and not init_dead and afterwards))
EOP
