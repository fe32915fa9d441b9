"""Checks of the machine: kernel, process identity, descriptors; and of the registry's folder and its file system."""

from __future__ import annotations

import errno
import os
import resource
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from ... import admin
from ...errors import InvalidName, PermissionDenied, UnsupportedPlatform
from ...model import Limits
from ...views import words
from .findings import DoctorFinding, ok, problem, warning

OLDEST_KERNEL = (5, 3)
# A registrar watches one descriptor for each owner, and scans for the deaths of the others. Below this limit a
# multi-agent system may have more owners than descriptors.
FEW_DESCRIPTORS = 4096
LEAST_FREE_BYTES = 8 * 1024**2
_IN_MEMORY = ("tmpfs", "ramfs")
# They write a changed page to another place, so that a page which the file has may find no room (btrfs, Linux 6.18).
_COPY_ON_WRITE = ("bcachefs", "btrfs", "zfs")


def check_machine() -> Iterator[DoctorFinding]:
    """Kernel, pidfds, process identity and descriptors."""
    yield _kernel()
    yield _pidfd()
    yield _identity()
    yield _descriptors()


def check_folder(folder: Path, needed_bytes: int) -> Iterator[DoctorFinding]:
    """Owner, mode and file system of the folder, or of the nearest folder above it that exists. `needed_bytes` is how
    much the registry's tables may still grow."""
    existing = _nearest(folder)
    yield _owner_and_mode(folder, existing)
    yield _in_memory(existing)
    yield _space(existing, needed_bytes)


def _kernel() -> DoctorFinding:
    release = os.uname().release
    if sys.platform != "linux":
        return problem("kernel", f"this is {sys.platform}", "run adsum on Linux 5.3 or newer")
    numbers = tuple(int(digits) for part in release.split(".")[:2] if (digits := _leading_digits(part)))
    if numbers < OLDEST_KERNEL:
        return problem("kernel", f"Linux {release}", "adsum needs Linux 5.3 or newer: upgrade the kernel")
    return ok("kernel", f"Linux {release}")


def _leading_digits(text: str) -> str:
    return text[: len(text) - len(text.lstrip("0123456789"))]


def _pidfd() -> DoctorFinding:
    try:
        admin.require_platform()
    except UnsupportedPlatform as error:
        return problem("pidfd", str(error), "allow pidfd_open in the container's seccomp profile, and mount /proc")
    return ok("pidfd", "pidfd_open works, and /proc is readable")


def _identity() -> DoctorFinding:
    try:
        unique = admin.identities_are_exact()
    except (OSError, AttributeError) as error:
        return problem("identity", f"unknown: {error}", "see pidfd")
    if unique:
        return ok("identity", "the inode of a pidfd identifies a process uniquely since boot")
    return warning(
        "identity",
        "a reused pid is detected by its start time, which has a resolution of 10 ms",
        "nothing is needed; Linux 6.9 or newer detects it exactly",
    )


def _descriptors() -> DoctorFinding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft} open files allowed, {hard} at most"
    if hard < FEW_DESCRIPTORS and hard != resource.RLIM_INFINITY:
        return warning(
            "descriptors",
            f"{found}; a registrar started here watches fewer processes than that, and scans for other deaths",
            "raise the hard limit: ulimit -Hn, or LimitNOFILE= in a systemd unit",
        )
    return ok("descriptors", found)


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _owner_and_mode(folder: Path, existing: Path) -> DoctorFinding:
    try:
        if admin.check_folder(folder):
            return ok("folder", f"{folder} is accessible to you alone")
    except (InvalidName, PermissionDenied) as error:
        return problem("folder", str(error))
    if not os.access(existing, os.W_OK | os.X_OK):
        return problem(
            "folder",
            f"{folder} does not exist, and cannot be created in {existing}",
            "set ADSUM_DIR, or give --path, to a folder where you may write",
        )
    found = existing.stat()
    shared = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if shared and not found.st_mode & stat.S_ISVTX:
        return warning(
            "folder",
            f"{folder} does not exist, and other users could rename it in {existing}",
            f"chmod +t '{existing}', or set ADSUM_DIR to a folder where only you may write",
        )
    return ok("folder", f"{folder} does not exist; the first registration creates it")


def _in_memory(existing: Path) -> DoctorFinding:
    _, kind = _mount_of(existing)
    if kind in _IN_MEMORY:
        return ok("tmpfs", f"{existing} is in memory ({kind})")
    danger = "; where it is full, the kernel may end every process that uses the registry (SIGBUS)"
    return warning(
        "tmpfs",
        f"{existing} is on {kind}, not in memory: writes are slower, and wear the disk"
        f"{danger if kind in _COPY_ON_WRITE else ''}",
        f"unset --path, or set ADSUM_DIR=/dev/shm/adsum-{os.geteuid()}",
    )


def _mount_of(path: Path) -> tuple[str, str]:
    """The mount point that a path is below, and the type of its file system, from /proc/self/mountinfo (proc(5))."""
    real = os.path.realpath(path)
    best, kind = real, "an unknown file system"
    longest = -1
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return best, kind
    for line in lines:
        fields, _, described = line.partition(" - ")
        # White space is escaped in octal. A later mount on the same mount point hides the earlier one.
        point = fields.split()[4].encode("latin-1", "surrogateescape").decode("unicode_escape")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:
            best, longest, kind = point, len(point), described.split()[0]
    return best, kind


def _space(existing: Path, needed_bytes: int) -> DoctorFinding:
    try:
        found = os.statvfs(existing)
    except OSError as error:
        return problem("space", f"{existing}: {error.strerror}", errno.errorcode.get(error.errno or 0, ""))
    free = found.f_bavail * found.f_frsize
    mount, _ = _mount_of(existing)
    state = f"{words.size(free)} free in {mount}; the tables may grow by {words.size(needed_bytes)}"
    remedy = f"free space in {mount}, or enlarge it (mount -o remount,size=, docker --shm-size)"
    if free < LEAST_FREE_BYTES:
        return problem("space", state, remedy)
    if free < needed_bytes:
        return warning("space", state, remedy)
    default, fitting = Limits().max_memory_bytes, admin.memory_limit_in(existing)
    if fitting < default:
        size = words.size(found.f_blocks * found.f_frsize)
        return warning(
            "space",
            f"{mount} has {size}: a registry that is made there has a limit of {words.size(fitting)}, not "
            f"{words.size(default)}",
            f"if that is too little, enlarge {mount} first (mount -o remount,size=, docker --shm-size)",
        )
    return ok("space", state)
