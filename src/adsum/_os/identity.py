"""The identity of a process beyond its pid.

The kernel reuses pids. A later process cannot have the inode of the earlier one's pidfd (Linux 6.9 and newer: each
process has its own inode in pidfs, 64 bits wide and never reused before the next boot) or, on older kernels, its start
time in clock ticks. Two identities are *the same*, *different* or *unknown*, and unknown never means dead.
"""

from __future__ import annotations

import _socket
import errno
import functools
import os
import struct
import sys
import uuid

from .._foreign import reraise_foreign
from ..errors import UnsupportedPlatform
from ..model import Owner
from . import polling
from .forking import call_around_fork, notice_fork, own
from .pidfd import open_pidfd

_credentials = struct.Struct("3i")


def require_linux() -> None:
    """Raise `UnsupportedPlatform` unless the kernel can hand out pidfds (Linux 5.3), and /proc is mounted."""
    if not _has_pidfd():
        raise UnsupportedPlatform(
            f"adsum needs pidfd_open (Linux 5.3 or newer, not blocked by seccomp); this is {sys.platform} "
            f"{os.uname().release}. Run it on such a kernel, or in a container profile that allows pidfd_open"
        )
    if not _has_proc():
        raise UnsupportedPlatform(
            "adsum needs /proc, which is not mounted here; mount it (mount -t proc proc /proc) and try again"
        )


def _has_proc() -> bool:
    try:
        os.stat("/proc/self/fd")
    except OSError as error:
        reraise_foreign(error)
        return False
    return True


@functools.cache
def _has_pidfd() -> bool:
    try:
        os.close(open_pidfd(os.getpid()))
    except OSError as error:
        reraise_foreign(error)
        # Any other error, that no descriptor or memory is left for one, says nothing about the kernel.
        return error.errno not in (errno.ENOSYS, errno.EPERM, errno.EACCES)
    return True


@functools.cache
def pidfds_have_inodes() -> bool:
    """Whether every process's pidfd has an inode of its own.

    Before Linux 6.9 all pidfds live on the kernel's anonymous-inode filesystem, the one that epoll descriptors live on.
    """
    pidfd, anonymous = open_pidfd(os.getpid()), polling.epoll()
    try:
        return os.fstat(pidfd).st_dev != os.fstat(anonymous.fileno()).st_dev
    finally:
        os.close(pidfd)
        anonymous.close()


def stat_fields(pid: int) -> list[bytes]:
    """The fields of ``/proc/PID/stat`` from the third on (proc_pid_stat(5)). Errors: `OSError`."""
    with open(f"/proc/{pid}/stat", "rb") as stat:
        # The command, field 2, may hold spaces and parentheses; the last ")" ends it.
        return stat.read().rpartition(b")")[2].split()


def peer(sock: _socket.socket) -> tuple[int, int, int]:
    """The pid, user and group at the other end of a Unix socket, also after it has ended the connection (SO_PEERCRED,
    unix(7))."""
    pid, uid, gid = _credentials.unpack(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _credentials.size))
    return pid, uid, gid


def start_time(pid: int) -> int:
    """Clock ticks from boot to the start of the process, field 22 of ``/proc/PID/stat``; 0 when it cannot be read."""
    try:
        return int(stat_fields(pid)[19])
    except (OSError, IndexError, ValueError) as error:
        reraise_foreign(error)
        return 0


def has_exited(pidfd: int) -> bool:
    """Whether the process has ended; a zombie has. A pidfd is readable from then on (pidfd_open(2))."""
    return polling.is_readable(pidfd)


def identify(pid: int) -> Owner | None:
    """The identity of the living process `pid`, or None when there is none (or only a zombie).

    The pidfd is opened first and polled last. If the process has not exited by then, everything read in between belongs
    to the process that the pidfd refers to.
    """
    pidfd = _open_pidfd(pid)
    if pidfd is None:
        return None
    try:
        owner = Owner(pid, start_time(pid), os.fstat(pidfd).st_ino if pidfds_have_inodes() else 0)
        return None if has_exited(pidfd) else owner
    finally:
        os.close(pidfd)


def open_verified(owner: Owner) -> int | None:
    """A pidfd of exactly this process while it is alive, or None when it is proven dead. The caller closes it.

    Raises `OSError` when the process has no descriptor left, which proves nothing about `owner`.
    """
    pidfd = _open_pidfd(owner.pid)
    if pidfd is None:
        return None
    keep = False
    try:
        keep = not _is_another_process(owner, pidfd) and not has_exited(pidfd)
    finally:
        if not keep:
            os.close(pidfd)
    return pidfd if keep else None


def _open_pidfd(pid: int) -> int | None:
    try:
        return open_pidfd(pid)
    except OSError as error:
        reraise_foreign(error)
        # ESRCH: no such process. EINVAL, ENOENT (6.9): the number of a thread, or no possible pid.
        if error.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):
            return None
        raise
    except OverflowError as error:
        reraise_foreign(error)
        return None


def _is_another_process(owner: Owner, pidfd: int) -> bool:
    if owner.pidfd_inode:
        return os.fstat(pidfd).st_ino != owner.pidfd_inode
    now = start_time(owner.pid)
    return bool(owner.start_time and now) and now != owner.start_time


def current() -> Owner:
    """The identity of this process."""
    if not own[0]:
        notice_fork()
    return _identity_of_self(os.getpid())


@functools.lru_cache(maxsize=1)
def _identity_of_self(pid: int) -> Owner:
    owner = identify(pid)
    if owner is None:
        raise UnsupportedPlatform(
            f"cannot read the identity of this process ({pid}) from the kernel; is /proc mounted?"
        )
    return owner


# A child may get the pid that an ancestor had, whose identity it inherits here.
call_around_fork(after_in_child=_identity_of_self.cache_clear)


@functools.cache
def boot_id() -> bytes:
    """16 bytes that differ between boots of the machine (random(4))."""
    try:
        # As bytes: a codec that is not loaded yet cannot be found where the working folder was removed (Python 3.13.0).
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return uuid.UUID(file.read().decode().strip()).bytes
    except (OSError, ValueError) as error:
        reraise_foreign(error)
        _unless_out_of_descriptors(error)
        raise UnsupportedPlatform("cannot read /proc/sys/kernel/random/boot_id; mount /proc and try again") from error


def _unless_out_of_descriptors(error: Exception) -> None:
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        raise error


def host_name() -> str:
    """The name of this host now, as text that an id may contain (uname(2))."""
    return os.uname().nodename.encode(errors="replace").decode() or "localhost"


def pid_namespace() -> int:
    """The inode of this process's PID namespace; a pid means a process only together with it (pid_namespaces(7))."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError as error:
        reraise_foreign(error)
        raise UnsupportedPlatform("cannot read /proc/self/ns/pid; mount /proc and try again") from error


def time_namespace() -> int:
    """The inode of this process's time namespace, in which monotonic clocks agree (time_namespaces(7)); 0 before Linux
    5.6, where there is one for all."""
    try:
        return os.stat("/proc/self/ns/time").st_ino
    except OSError as error:
        reraise_foreign(error)
        return 0
