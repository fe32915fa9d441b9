#!/usr/bin/env bash
# The start time of one process differs with the time namespace of the one who reads it.
#
# A good engineer guesses: (boot id, pid, start time in /proc/PID/stat) names a process for the whole machine.
# In fact: field 22 is shifted by the boot-time offset of the *reader's* time namespace. Two processes of one machine,
# with the same boot id and the same pid namespace, read different start times of the same process. psutil's
# `create_time()` agrees on both sides, because the boot time in /proc/stat is shifted the other way.
# It matters because: an identity that is stored with the start ticks reads as "another process, the pid was reused"
# from inside a restored or time-shifted container, and a living process is taken for dead.
# Source: time_namespaces(7), which lists /proc/uptime and not this; fs/proc/array.c, timens_add_boottime_ns.
. "$(dirname "$0")/prelude"
needs_root
needs_linux 5.6
needs_command unshare
unshare --time --boottime 600 true || missing "time namespaces"
install psutil==7.2.2

cat > read.py <<'EOP'
import json
import sys
from pathlib import Path

import psutil

pid = int(sys.argv[1])
process = psutil.Process(pid)
ticks = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
print(json.dumps({"ticks": ticks, "create_time": round(process.create_time()), "boot_id": boot, "pid": process.pid}))
EOP
"$python" - <<'EOP'
import json
import os
import subprocess
import sys

command = [sys.executable, "read.py", str(os.getpid())]
here = json.loads(subprocess.check_output(command))
shifted = json.loads(subprocess.check_output(["unshare", "--time", "--boottime", "600", *command]))
print(f"read here:                       {here}")
print(f"read in another time namespace:  {shifted}")
same = all(here[key] == shifted[key] for key in ("pid", "boot_id"))
close = abs(here["create_time"] - shifted["create_time"]) <= 1
sys.exit(not (same and close and shifted["ticks"] - here["ticks"] == 600 * os.sysconf("SC_CLK_TCK")))
EOP
