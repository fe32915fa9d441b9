"""A file system in which a user may use only so much: a size quota, proven by use before a test relies on it.

tmpfs has quotas with `usrquota` (tmpfs(5), Linux 6.6, CONFIG_TMPFS_QUOTA). They do not bind a process with
CAP_SYS_RESOURCE. The quota groups of btrfs are of no use here: they refuse even to change a page that the file has, and
where it is mapped, as LMDB's table of readers is, that is SIGBUS.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Begins the command of each process that the quota is to bind.
BOUND = ("setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource")
_TMPFS_BYTES = 256 * 1024 * 1024
# Writes until it is refused: exit status 0 for EDQUOT within the bytes named.
_PROVE = """
import errno, os, sys
path, most = sys.argv[1], int(sys.argv[2])
written = 0
try:
    with open(path, "wb", buffering=0) as file:
        while written < most:
            written += file.write(bytes(65536))
except OSError as error:
    os.unlink(path)
    sys.exit(error.errno != errno.EDQUOT)
sys.exit(2)
"""


@contextlib.contextmanager
def tmpfs_with_quota(place: Path, size: int) -> Iterator[Path]:
    """A tmpfs at `place`, in which each user may use `size` bytes. Skips the test where the kernel has no such
    quota."""
    if os.geteuid():
        pytest.skip("only root may mount a file system with a quota")
    place.mkdir(mode=0o700)
    options = f"size={_TMPFS_BYTES},mode=0700,usrquota,usrquota_block_hardlimit={size}"
    if not _done("mount", "-t", "tmpfs", "-o", options, "tmpfs", place):
        pytest.skip("this kernel has no quotas for tmpfs (CONFIG_TMPFS_QUOTA)")
    try:
        if not _done(*BOUND, sys.executable, "-c", _PROVE, place / "proof", str(2 * size)):
            pytest.skip("the quota of this tmpfs binds no process of this user")
        yield place
    finally:
        # Lazily: a registrar may still be inside, and is ended later.
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def _done(*command: object) -> bool:
    try:
        return not subprocess.run([*map(str, command)], capture_output=True, check=False).returncode
    except FileNotFoundError:
        return False
