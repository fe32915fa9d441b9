#!/usr/bin/env bash
# A mapped file on tmpfs that changes every second keeps the mtime of its first change.
#
# A good engineer guesses: writing through a shared mapping updates mtime now and then, at the latest at `msync`.
# In fact: the kernel sets mtime when a page is first made writable. On a disk's file system, writing back makes pages
# read-only again, so the next store sets it again. tmpfs never writes back: after the first store to a page, neither
# stores nor `msync` nor `fsync` change the mtime for as long as the page stays mapped.
# It matters because: a heartbeat page or a database in /dev/shm or /run looks untouched to whatever goes by age:
# rules of systemd-tmpfiles, backups, monitoring of "last modified". LMDB with `writemap=True` is such a mapping.
# Source: mmap(2), MAP_SHARED, on st_mtime; mm/memory.c, fault_dirty_shared_page; the same run on a disk is printed.
. "$(dirname "$0")/prelude"

"$python" - <<'EOP'
import mmap
import os
import subprocess
import sys
import tempfile

OLD = 1_000_000_000


def keeps_old_mtime(folder: str) -> bool:
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(4096))
        file.flush()
        with mmap.mmap(file.fileno(), 4096) as page:
            page[0] = 1
            page.flush()
            os.fsync(file.fileno())
            os.utime(file.fileno(), (OLD, OLD))
            page[0] = 2
            page.flush()
            os.fsync(file.fileno())
            changed = os.pread(file.fileno(), 1, 0) == b"\2"
        kept = os.fstat(file.fileno()).st_mtime == OLD
        kind = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True).stdout.strip()
        print(f"{kind}: content changed {changed}, mtime kept {kept}")
        return changed and kept


if subprocess.run(["stat", "-f", "-c", "%T", "/dev/shm"], capture_output=True, text=True).stdout.strip() != "tmpfs":
    print("missing: a tmpfs at /dev/shm")
    sys.exit(2)
on_tmpfs = keeps_old_mtime("/dev/shm")
keeps_old_mtime("/var/tmp")
sys.exit(not on_tmpfs)
EOP
