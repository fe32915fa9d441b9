#!/usr/bin/env bash
# Installing setproctitle beside gunicorn wipes /proc/PID/environ of its processes.
#
# A good engineer guesses: /proc/PID/environ is the environment that the process was started with; a marker variable
# finds all processes of a service, whatever they run.
# In fact: if setproctitle can be imported, gunicorn sets a title, and the title is written over the memory in which
# the kernel looks for arguments and environment. The variable is still set inside the process, and psutil's
# `environ()` shows it for the process before, and not after. Without the package the same command keeps it.
# It matters because: supervisors and build systems find "their" processes by a variable in /proc/PID/environ; one
# more package in the environment makes the processes vanish from such a search.
# Source: proc_pid_environ(5); setproctitle's page, SPT_NOENV.
. "$(dirname "$0")/prelude"
install gunicorn==27.0.1 psutil==7.2.2

cat > app.py <<'EOP'
import os


def app(environ, start_response):
    start_response("200 OK", [])
    return [os.environ["MARKER"].encode()]
EOP
cat > ask.py <<'EOP'
import os
import socket
import subprocess
import sys
import time

import psutil


def ask() -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("socket")
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    return answer.split(b"\r\n\r\n", 1)[1].decode()


command = [sys.executable, "-m", "gunicorn", "-w", "1", "--bind", "unix:socket", "--log-level", "error", "app:app"]
server = subprocess.Popen(command, env={**os.environ, "MARKER": "mine"})
try:
    deadline = time.monotonic() + 15
    while True:
        try:
            inside = ask()
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    worker = psutil.Process(server.pid).children()[0]
    outside = worker.environ().get("MARKER")
finally:
    server.terminate()
    server.wait()
print(f"MARKER inside the worker: {inside!r}; seen from outside by psutil: {outside!r}")
sys.exit(not (inside == "mine" and outside == (None if sys.argv[1] == "wiped" else "mine")))
EOP
export HOME=$folder
"$python" ask.py kept
"$python" -m pip install -qq --disable-pip-version-check setproctitle==1.3.8 || missing setproctitle==1.3.8
echo "installed: setproctitle==1.3.8"
"$python" ask.py wiped
