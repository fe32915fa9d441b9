#!/usr/bin/env bash
# Read LMDB's lock file once, as a backup or a checksum does, and your snapshot changes under you.
#
# A good engineer guesses: reading a file changes nothing, and a read transaction is a snapshot until it ends.
# In fact: LMDB marks a reader as alive by a POSIX lock on lock.mdb. POSIX locks belong to the process, and closing *any*
# descriptor of the file drops all of them. After `open("lock.mdb").read()` in the process that reads, the next
# `reader_check()` of any other process takes the living reader for dead and frees its place; writers then use its
# pages again, and the open transaction returns values that were written after it began. No error anywhere.
# It matters because: `shutil.copytree`, `tarfile` or a checksum of the folder from inside the program is enough. Copy with
# `Environment.copy`, and leave out lock.mdb.
# Source: lmdb.h, Caveats ("breaks fcntl() advisory locking"); fcntl_locking(2); seen with the version below.
. "$(dirname "$0")/prelude"
install lmdb==3.0.0

cat > reader.py <<'EOP'
import sys

import lmdb

with lmdb.open("database").begin() as snapshot:
    for line in sys.stdin:
        if line == "read the lock file\n":
            with open("database/lock.mdb", "rb") as lock:
                lock.read()
        print(snapshot.get(b"key").decode(), flush=True)
EOP
"$python" - <<'EOP'
import subprocess
import sys

import lmdb

environment = lmdb.open("database")
with environment.begin(write=True) as transaction:
    transaction.put(b"key", b"old")
reader = subprocess.Popen([sys.executable, "reader.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def tell(line: str) -> str:
    reader.stdin.write(line + "\n")
    reader.stdin.flush()
    return reader.stdout.readline().strip()


def write_and_check() -> int:
    freed = environment.reader_check()
    for number in range(50):
        with environment.begin(write=True) as transaction:
            transaction.put(b"key", b"new %d" % number)
    return freed


first, freed_before = tell("look"), write_and_check()
second = tell("read the lock file")
freed_after = write_and_check()
third = tell("look")
reader.communicate()
print(f"in one read transaction: {first!r}; after 50 writes: {second!r}; the lock file read, 50 writes: {third!r}")
print(f"readers that reader_check() took for dead: {freed_before}, then {freed_after}; the reader lived all the time")
sys.exit(not (first == second == "old" and third != "old" and (freed_before, freed_after) == (0, 1)))
EOP
