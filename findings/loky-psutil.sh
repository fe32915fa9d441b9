#!/usr/bin/env bash
# A loky worker that caches data is replaced if psutil happens to be installed.
#
# A good engineer guesses: a worker of a pool keeps its module globals (a model, a table) until the pool is closed, it
# is idle for too long, or it crashes.
# In fact: loky looks for psutil. With it, a worker that has grown by more than 300 MB since its start is taken for
# leaking: it finishes its task, ends, and another process with another pid and empty globals takes its place, with one
# warning in the parent. Without psutil, the same program keeps its worker and its data.
# It matters because: joblib and scikit-learn run on loky; a cache in a worker works on a laptop and is lost in
# production, where some monitoring package brought psutil along. Entries of such workers end without any crash.
# Source: loky/process_executor.py, _USE_PSUTIL and _MAX_MEMORY_LEAK_SIZE; seen with the versions below.
. "$(dirname "$0")/prelude"
[ "$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)" -gt 1500000 ] || missing "1.5 GB of memory"
install loky==3.7.0

cat > model.py <<'EOP'
import os
import time

data = None


def load() -> None:
    global data
    data = bytearray(b"x") * (400 << 20)


def ask() -> tuple[int, bool]:
    time.sleep(0.1)  # loky looks at the memory at most once a second
    return os.getpid(), data is not None
EOP
cat > run.py <<'EOP'
import sys
import time

import loky
import model

with loky.ProcessPoolExecutor(1, timeout=60) as pool:
    before, _ = pool.submit(model.ask).result()
    pool.submit(model.load).result()
    deadline = time.monotonic() + 5
    while True:
        after, loaded = pool.submit(model.ask).result()
        if not loaded or time.monotonic() > deadline:
            break
print(f"same worker: {after == before}, its data is still loaded: {loaded}")
sys.exit(loaded != (sys.argv[1] == "kept") or loaded != (after == before))
EOP
export PYTHONPATH=$folder
"$python" run.py kept
"$python" -m pip install -qq --disable-pip-version-check psutil==7.2.2 || missing psutil==7.2.2
echo "installed: psutil==7.2.2"
"$python" run.py replaced
