#!/usr/bin/env bash
# The pid of a one-file program from PyInstaller is not the program; SIGKILL to it leaves the program running.
#
# A good engineer guesses: one executable file, started once, is one process, and its `Popen.pid` is what the program
# itself calls `os.getpid()`.
# In fact: the process that was started only unpacks. It starts a second one, in which the Python program runs, and waits
# for it. SIGTERM is passed on; SIGKILL cannot be: the program lives on under init, with its ports and locks, and the
# unpacked files stay in the temporary folder for good.
# It matters because: a supervisor registers and kills the wrong process, and after its SIGKILL starts a second copy
# beside the first.
# Source: PyInstaller's manual, "How the one-file program works"; seen with the version below.
. "$(dirname "$0")/prelude"
needs_command objdump
install pyinstaller==6.22.3

cat > program.py <<'EOP'
import os
import sys

print(os.getpid(), flush=True)
sys.stdin.readline()
EOP
"$python" -m PyInstaller --onefile --log-level ERROR program.py || missing "what PyInstaller needs to build"
"$python" - <<'EOP'
import os
import select
import subprocess
import sys

os.mkdir("unpacked")
environment = {**os.environ, "TMPDIR": os.path.abspath("unpacked")}
started = subprocess.Popen(["dist/program"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
program = int(started.stdout.readline())
poller = select.poll()
poller.register(os.pidfd_open(program), select.POLLIN)
started.kill()
started.wait()
outlives = not poller.poll(2000)
left = os.listdir("unpacked")
started.stdin.close()
ended = bool(poller.poll(5000))
started.stdout.close()
print(f"Popen.pid {started.pid}, os.getpid() in the program {program}")
print(f"two seconds after SIGKILL to the first: the program runs {outlives}; its folder is left behind: {left != []}")
sys.exit(not (started.pid != program and outlives and left and ended))
EOP
