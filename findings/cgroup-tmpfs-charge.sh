#!/usr/bin/env bash
# A cgroup without a process uses 50 MB: files in shared memory count for the one who wrote them first.
#
# A good engineer guesses: memory of a file in /dev/shm counts for who uses it now, or is split; a group whose processes
# have all ended uses next to nothing.
# In fact: a page of tmpfs is charged to the cgroup of its first toucher and stays there. A second container that
# rewrites every byte is charged nothing; the first keeps the whole charge after its last process has ended, and its
# limit is the one that counts.
# It matters because: where containers share a folder in shared memory, the limit that is hit depends on who came first,
# and a container can reach its limit, and be killed for it, by pages that only others still use.
# Source: kernel documentation, cgroup-v1/memory ("Shared pages are accounted on the basis of the first touch
# approach") and cgroup-v2 ("Memory Ownership").
. "$(dirname "$0")/prelude"
needs_root

"$python" - <<'EOP'
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SIZE = 50 << 20
MOUNTS = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
V1 = [Path(mount[1]) for mount in MOUNTS if mount[2] == "cgroup" and "memory" in mount[3].split(",")]
V2 = [Path(mount[1]) for mount in MOUNTS if mount[2] == "cgroup2"]


def usage(group: Path) -> int:
    file = next(group / name for name in ("memory.current", "memory.usage_in_bytes") if (group / name).exists())
    return int(file.read_text()) >> 20


def inside(group: Path, act: Callable[[], object]) -> None:
    child = os.fork()
    if child == 0:
        (group / "cgroup.procs").write_text(str(os.getpid()))
        act()
        os._exit(0)
    os.waitpid(child, 0)


roots = V1 or [root for root in V2 if "memory" in (root / "cgroup.subtree_control").read_text().split()]
if not roots or os.statvfs("/dev/shm").f_bavail * os.statvfs("/dev/shm").f_bsize < 2 * SIZE:
    print("missing: a memory cgroup, or room in /dev/shm")
    sys.exit(2)
first, second = (roots[0] / f"finding-{os.getpid()}-{name}" for name in ("first", "second"))
try:
    first.mkdir()
    second.mkdir()
except OSError as error:
    print(f"missing: a writable memory cgroup: {error}")
    sys.exit(2)
try:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        inside(first, lambda: os.pwrite(file.fileno(), b"x" * SIZE, 0))
        written = usage(first), usage(second)
        inside(second, lambda: os.pwrite(file.fileno(), b"y" * SIZE, 0))
        rewritten = usage(first), usage(second)
        processes = (first / "cgroup.procs").read_text().split()
finally:
    time.sleep(0.2)
    first.rmdir()
    second.rmdir()
print(f"cgroup {'v1' if V1 else 'v2'}: MB charged to the first and the second")
print(f"the first wrote a file of 50 MB and ended:   {written}")
print(f"the second rewrote it and ended:             {rewritten}; processes in the first: {processes}")
sys.exit(not (rewritten[0] >= 45 and rewritten[1] <= 10 and not processes))
EOP
