#!/usr/bin/env bash
# Under debugpy even `python -I -S -c` runs other code than it was given, with more threads and another command line.
#
# A good engineer guesses: `-I -S` isolates a child from site packages, environment and so from the debugger; the
# arguments that a program passes are those that the child gets.
# In fact: debugpy replaces the functions of `os` and `_posixsubprocess` that start programs, looks whether the program
# is a Python, and writes its own start-up code in front of the text after `-c`, with the path of its package. The
# isolated child has site packages on its path, several threads more, and another /proc/PID/cmdline.
# It matters because: small helper processes (resource trackers, brokers, registrars) are traced and may wait for the
# editor; a check by command line no longer finds them. A child that must be alone has to be started through a program
# that is not a Python; the user can switch it off (`"subProcess": false`, `--configure-subProcess false`).
# Source: debugpy, "subProcess"; pydevd's _pydev_bundle/pydev_monkey.py; seen with the version below.
. "$(dirname "$0")/prelude"
install debugpy==1.8.22

cat > start.py <<'EOP'
import subprocess
import sys

CODE = """
import json, os, sys
given = open("/proc/self/cmdline").read().split("\\0")[4]
mine = given.startswith("\\nimport json")
foreign = any("site-packages" in path for path in sys.path)
print(json.dumps([mine, foreign, len(os.listdir("/proc/self/task"))]))
"""
subprocess.run([sys.executable, "-I", "-S", "-c", CODE], timeout=20, check=True, stderr=subprocess.DEVNULL)
EOP
"$python" - <<'EOP'
import json
import subprocess
import sys

names = ("command line as given", "site packages on the path", "threads")
seen = []
for debugger in ([], ["-m", "debugpy", "--listen", "127.0.0.1:0"]):
    command = [sys.executable, *debugger, "start.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    seen.append(json.loads(done.stdout.splitlines()[-1]))
    print("under debugpy:" if debugger else "alone:", dict(zip(names, seen[-1])))
sys.exit(not (seen[0] == [True, False, 1] and seen[1][:2] == [False, True] and seen[1][2] > 1))
EOP
