"""What `adsum doctor` asks of the machine: kernel, processes, descriptors, folder, memory."""

from __future__ import annotations

import errno
import os
import resource
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from ... import admin
from ...errors import PermissionDenied, UnsupportedPlatform
from ...views import words
from .findings import Finding, ok, problem, warning

OLDEST_KERNEL = (5, 3)
# Fewer watched processes than this are soon reached by a multi-agent system, and the rest has to be scanned.
FEW_DESCRIPTORS = 4096
HARDLY_ANY_BYTES = 8 * 1024**2
_IN_MEMORY = ("tmpfs", "ramfs")


def check_machine() -> Iterator[Finding]:
    yield _kernel()
    yield _pidfd()
    yield _identity()
    yield _descriptors()


def check_folder(folder: Path, wanted_bytes: int) -> Iterator[Finding]:
    """`wanted_bytes` is what the registry's tables may still come to use."""
    place = _nearest(folder)
    yield _owner_and_mode(folder, place)
    yield _in_memory(place)
    yield _space(place, wanted_bytes)


def _kernel() -> Finding:
    release = os.uname().release
    if sys.platform != "linux":
        return problem("kernel", f"this is {sys.platform}", "run adsum on Linux 5.3 or newer")
    numbers = tuple(int(digits) for part in release.split(".")[:2] if (digits := _leading_digits(part)))
    if numbers < OLDEST_KERNEL:
        return problem("kernel", f"Linux {release}", "adsum needs Linux 5.3 or newer: upgrade the kernel")
    return ok("kernel", f"Linux {release}")


def _leading_digits(text: str) -> str:
    return text[: len(text) - len(text.lstrip("0123456789"))]


def _pidfd() -> Finding:
    try:
        admin.require_platform()
    except UnsupportedPlatform as error:
        return problem("pidfd", str(error), "allow pidfd_open in the container's seccomp profile, and mount /proc")
    return ok("pidfd", "pidfd_open works, and /proc can be read")


def _identity() -> Finding:
    try:
        unique = admin.identities_are_exact()
    except (OSError, AttributeError) as error:
        return problem("identity", f"cannot be told: {error}", "see pidfd")
    if unique:
        return ok("identity", "each process has an inode of its own since boot")
    return warning(
        "identity",
        "a reused pid is told apart by its start time, to 10 ms",
        "nothing has to be done; Linux 6.9 or newer tells exactly",
    )


def _descriptors() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    says = f"{soft} open files allowed, {hard} at most"
    if hard < FEW_DESCRIPTORS and hard != resource.RLIM_INFINITY:
        return warning(
            "descriptors",
            f"{says}; a registrar started here watches fewer processes than that and scans for the rest",
            "raise the hard limit: ulimit -Hn, or LimitNOFILE= in a systemd unit",
        )
    return ok("descriptors", says)


def _nearest(folder: Path) -> Path:
    """The folder, or what is there of the way to it."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _owner_and_mode(folder: Path, place: Path) -> Finding:
    try:
        if admin.check_folder(folder):
            return ok("folder", f"{folder} is yours alone")
    except PermissionDenied as error:
        return problem("folder", str(error))
    if not os.access(place, os.W_OK | os.X_OK):
        return problem(
            "folder",
            f"{folder} is not there yet, and cannot be made in {place}",
            "set ADSUM_DIR or give --path to a place you may write",
        )
    found = place.stat()
    shared = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if shared and not found.st_mode & stat.S_ISVTX:
        return warning(
            "folder",
            f"{folder} is not there yet, and others can move it away in {place}",
            f"chmod +t '{place}', or set ADSUM_DIR to a folder that only you may write",
        )
    return ok("folder", f"{folder} is not there yet; the first registration makes it")


def _in_memory(place: Path) -> Finding:
    kind = _file_system(place)
    if kind in _IN_MEMORY:
        return ok("tmpfs", f"{place} is in memory ({kind})")
    return warning(
        "tmpfs",
        f"{place} is on {kind}, not in memory: writes are slower, and the disk is worn",
        f"unset --path, or set ADSUM_DIR=/dev/shm/adsum-{os.geteuid()}",
    )


def _file_system(place: Path) -> str:
    """The type of the file system a path is on, from /proc/self/mountinfo (proc(5))."""
    here = os.path.realpath(place)
    best, kind = -1, "an unknown file system"
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return kind
    for line in lines:
        fields, _, described = line.partition(" - ")
        # Spaces and the like stand in octal. A later mount on the same point covers the earlier.
        point = fields.split()[4].encode("latin-1", "surrogateescape").decode("unicode_escape")
        inside = here == point or here.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:
            best, kind = len(point), described.split()[0]
    return kind


def _space(place: Path, wanted_bytes: int) -> Finding:
    try:
        found = os.statvfs(place)
    except OSError as error:
        return problem("space", f"{place}: {error.strerror}", errno.errorcode.get(error.errno or 0, ""))
    free = found.f_bavail * found.f_frsize
    says = f"{words.size(free)} free, the tables may take {words.size(wanted_bytes)} more"
    remedy = f"free space in {place}, make it larger (mount -o remount,size=, docker --shm-size), or lower the limit"
    if free < HARDLY_ANY_BYTES:
        return problem("space", says, remedy)
    if free < wanted_bytes:
        return warning("space", says, remedy)
    return ok("space", says)
