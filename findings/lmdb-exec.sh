#!/usr/bin/env bash
# A Python program that restarts itself by exec has data.mdb open once more each time.
#
# A good engineer guesses: since Python 3.4 (PEP 446) descriptors are not inherited over exec unless one asks for it.
# In fact: that holds for descriptors that Python opens. LMDB opens its lock file and its meta page descriptor with
# O_CLOEXEC, and the data file without, so data.mdb goes over every exec: one more for each restart in place, and one in
# each program that is started by `os.posix_spawn` or by `subprocess` with `close_fds=False`.
# It matters because: autoreloaders and upgrades by exec leak one descriptor a time until `EMFILE`, and the file of a
# removed database keeps its space for as long as any program lives that was started from the one that opened it.
# Source: PEP 446; mdb.c, the flags of MDB_O_RDWR; seen with the version below.
. "$(dirname "$0")/prelude"
install lmdb==3.0.0

cat > restart.py <<'EOP'
import os
import sys

import lmdb

links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
inherited = sum(os.path.exists(link) and os.readlink(link).endswith("/data.mdb") for link in links)
restarts = int(sys.argv[1])
print(f"restarts: {restarts}, descriptors of data.mdb before any is opened: {inherited}", flush=True)
environment = lmdb.open("database")
if restarts < 3:
    os.execv(sys.executable, [sys.executable, __file__, str(restarts + 1)])
environment.close()
sys.exit(inherited != 3)
EOP
"$python" restart.py 0
