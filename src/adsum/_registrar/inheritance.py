"""What a process inherits from its starter (fork(2), execve(2)), and what a registrar does not keep of it.

A registrar serves all processes of a user, and outlives the one that started it: a batch job with small limits, a
program that ignores signals, a worker that is bound to one CPU. What it cannot drop without a privilege, it logs.
It stays in the starter's control group (cgroups(7)): leaving it takes write access to a common ancestor.
"""

from __future__ import annotations

import os
import resource
import signal

# Python's own choice; and a hang-up of the terminal is none of a registrar's concern.
_IGNORED = {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP}
# Core dumps are the user's choice, and harm no process.
_LIMITS = {
    name: getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_") and name != "RLIMIT_CORE"
}
# Those that a registrar feels when they stay: it is killed, or cannot grow.
_FELT = {"RLIMIT_AS": "bytes of memory", "RLIMIT_CPU": "seconds of CPU time", "RLIMIT_DATA": "bytes of data"}


def drop() -> list[str]:
    """Drop what this process inherited. Returns what it has to keep, a sentence for each."""
    _reset_signals()
    os.chdir("/")
    return [*lift_limits(), *_reset_scheduling(), *_reset_oom_score()]


def _reset_signals() -> None:
    for number in signal.valid_signals() - _IGNORED:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def lift_limits() -> list[str]:
    """Lift the resource limits: to none with CAP_SYS_RESOURCE, else to the hard limits (getrlimit(2))."""
    infinity = resource.RLIM_INFINITY
    for number in _LIMITS.values():
        hard = resource.getrlimit(number)[1]
        for wanted in (infinity, hard):
            try:
                resource.setrlimit(number, (wanted, wanted))
                break
            except (ValueError, OSError):
                # EPERM: without the privilege, or above the system's own maximum (fs.nr_open).
                continue
    limits = {name: resource.getrlimit(_LIMITS[name])[0] for name in _FELT}
    return [f"the starter's limit of {limits[name]} {_FELT[name]} stays" for name in _FELT if limits[name] != infinity]


def _reset_scheduling() -> list[str]:
    kept = []
    try:
        if os.sched_getscheduler(0) != os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except OSError as error:
        kept.append(f"the starter's scheduling policy stays: {error}")
    try:
        if os.getpriority(os.PRIO_PROCESS, 0) != 0:
            os.setpriority(os.PRIO_PROCESS, 0, 0)
    except OSError as error:
        kept.append(f"the starter's nice value of {os.getpriority(os.PRIO_PROCESS, 0)} stays: {error}")
    try:
        # All CPUs: the kernel leaves out those that are not there, or not in the cpuset (sched_setaffinity(2)).
        os.sched_setaffinity(0, range(os.sysconf("SC_NPROCESSORS_CONF")))
    except OSError as error:
        kept.append(f"the starter's CPU affinity stays: {error}")
    return kept


def _reset_oom_score() -> list[str]:
    """A starter may have offered itself to the OOM killer, or be exempt from it (proc(5))."""
    try:
        with open("/proc/self/oom_score_adj", "r+b", buffering=0) as score:
            if int(score.read()):
                score.seek(0)
                score.write(b"0")
    except OSError as error:
        return [f"the starter's oom_score_adj stays: {error}"]
    return []
