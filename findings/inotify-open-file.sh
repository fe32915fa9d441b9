#!/usr/bin/env bash
# A watched file is removed, and inotify does not say so while someone has it open.
#
# A good engineer guesses: IN_DELETE_SELF arrives when the watched file is deleted.
# In fact: it arrives when the *inode* goes, after the last descriptor is closed. At the removal of the name there is
# only IN_ATTRIB (the link count has changed), which a watch for IN_DELETE_SELF alone does not get. A watch on the
# folder says IN_DELETE at once.
# It matters because: a lock file, socket or database that a daemon holds open can be removed under it, by a cleaner or
# at logout; who watches the file waits for as long as the daemon works on with a file that no one else can find.
# Source: inotify(7), IN_ATTRIB and IN_DELETE_SELF; unlink(2).
. "$(dirname "$0")/prelude"

"$python" - <<'EOP'
import ctypes
import os
import struct
import sys

IN_ATTRIB, IN_DELETE, IN_DELETE_SELF = 0x4, 0x200, 0x400
NAMES = {IN_ATTRIB: "IN_ATTRIB", IN_DELETE: "IN_DELETE", IN_DELETE_SELF: "IN_DELETE_SELF", 0x8000: "IN_IGNORED"}
libc = ctypes.CDLL(None, use_errno=True)


def watch(path: bytes, mask: int) -> int:
    inotify = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if inotify < 0 or libc.inotify_add_watch(inotify, path, mask) < 0:
        print(f"missing: an inotify watch: {os.strerror(ctypes.get_errno())}")
        sys.exit(2)
    return inotify


def events(inotify: int) -> list[str]:
    """Events are queued by the system call that causes them, so there is nothing to wait for."""
    try:
        data = os.read(inotify, 65536)
    except BlockingIOError:
        return []
    seen, offset = [], 0
    while offset < len(data):
        _, mask, _, length = struct.unpack_from("iIII", data, offset)
        seen.append(NAMES.get(mask, hex(mask)))
        offset += 16 + length
    return seen


os.mkdir("folder")
holder = open("folder/lock", "w")
on_file = watch(b"folder/lock", IN_DELETE_SELF)
on_file_too = watch(b"folder/lock", IN_DELETE_SELF | IN_ATTRIB)
on_folder = watch(b"folder", IN_DELETE)
os.unlink("folder/lock")
removed = [events(on_file), events(on_file_too), events(on_folder)]
holder.close()
closed = [events(on_file), events(on_file_too), events(on_folder)]
for name, *seen in zip(("on the file", "with IN_ATTRIB", "on the folder"), removed, closed):
    print(f"watch {name}: at the removal {seen[0]}, at the last close {seen[1]}")
sys.exit(not (removed == [[], ["IN_ATTRIB"], ["IN_DELETE"]] and closed[0][:1] == ["IN_DELETE_SELF"]))
EOP
