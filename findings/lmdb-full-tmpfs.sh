#!/usr/bin/env bash
# On a full tmpfs LMDB cannot delete.
#
# A good engineer guesses: when space runs out, deleting gets one out of it; at the latest when `delete` has said True.
# In fact: LMDB never writes over a page that a reader might see. A transaction that only deletes needs fresh pages for
# the changed path of the tree; where the file has no free page and cannot grow, `delete()` returns True and the commit
# fails, each time, with the row still there. It is the same whether LMDB or a stranger's file took the space.
# It matters because: a store in shared memory that fills up once stays full for ever. Keep a reserve: allocate free
# pages ahead, or refuse new rows while there is still room for the deletions to come.
# Source: mdb.c, mdb_page_touch and mdb_page_alloc; seen with the version below.
. "$(dirname "$0")/prelude"
needs_root
needs_command unshare mount
unshare --mount mount -t tmpfs none "$folder" || missing "leave to mount a tmpfs"
install lmdb==3.0.0

cat > full.py <<'EOP'
import os
import sys

import lmdb

environment = lmdb.open("small/database", map_size=1 << 30, sync=False, metasync=False)
with environment.begin(write=True) as transaction:
    for number in range(200):
        transaction.put(b"%d" % number, bytes(500))
with open("small/stranger", "wb", buffering=0) as stranger:
    try:
        while True:
            stranger.write(bytes(4096))
    except OSError as error:
        print(f"filled by another file: {error.strerror}")
failures = []
for number in range(3):
    try:
        with environment.begin(write=True) as transaction:
            found = transaction.delete(b"%d" % number)
    except lmdb.Error as error:
        failures.append(error)
        print(f"delete() returned {found}, then {error!r}")
with environment.begin() as transaction:
    left = transaction.stat()["entries"]
os.unlink("small/stranger")
with environment.begin(write=True) as transaction:
    transaction.delete(b"0")
print(f"rows left of 200: {left}; with the other file gone: {environment.stat()['entries']}")
sys.exit(not (len(failures) == 3 and left == 200 and environment.stat()["entries"] == 199))
EOP
mkdir small
unshare --mount sh -c 'mount -t tmpfs -o size=4m none small && mkdir small/database && exec "$0" full.py' "$python"
