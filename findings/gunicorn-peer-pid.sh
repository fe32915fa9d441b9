#!/usr/bin/env bash
# The peer of a Unix socket to gunicorn is a process that never reads it, and after an upgrade one that is dead.
#
# A good engineer guesses: SO_PEERCRED on a connected Unix socket names the process at the other end.
# In fact: it names the process that called listen(). With prefork that is the master, not the worker that accepted and
# answers. After gunicorn's upgrade in place (USR2, then TERM to the old master) the new master goes on with the
# inherited socket, and the credentials are still those of the old one: a pid of which no process exists.
# It matters because: a client that watches "the server" by its peer's pid watches the wrong process: it hears nothing
# when its worker dies, and after an upgrade it takes a living server for dead, or a stranger with a reused pid for it.
# Source: unix(7), SO_PEERCRED; gunicorn's page on signals, "Upgrading to a new binary on the fly".
. "$(dirname "$0")/prelude"
install gunicorn==27.0.1

cat > app.py <<'EOP'
import os


def app(environ, start_response):
    start_response("200 OK", [])
    return [f"{os.getpid()} {os.getppid()}".encode()]
EOP
export HOME=$folder
"$python" - <<'EOP'
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path


def ask() -> tuple[int, int, int]:
    """The peer's pid, and the worker and its master as the answer names them."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("socket")
        peer = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    worker, master = map(int, answer.split(b"\r\n\r\n", 1)[1].split())
    return peer, worker, master


def until(condition):
    deadline = time.monotonic() + 15
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("gunicorn was not ready in time")
        time.sleep(0.05)


def exists(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def masters() -> set[int]:
    """The masters whose workers answer now."""
    try:
        return {ask()[2] for _ in range(4)}
    except OSError:
        return set()


flags = ["-w", "1", "--bind", "unix:socket", "--log-level", "error"]
old = subprocess.Popen([sys.executable, "-m", "gunicorn", *flags, "app:app"])
new = None
try:
    until(masters)
    peer, worker, master = ask()
    print(f"at first: peer {peer}, master {master}, worker that answered {worker}")
    prefork = peer == master == old.pid != worker
    old.send_signal(signal.SIGUSR2)
    found: set[int] = set()
    until(lambda: found.update(masters() - {old.pid}) or found)
    new = found.pop()
    old.terminate()
    old.wait()
    until(lambda: masters() and masters() <= {new})
    peer, worker, master = ask()
    print(f"after the upgrade: peer {peer} (exists: {exists(peer)}), master {master}, worker that answered {worker}")
    upgraded = peer == old.pid and not exists(peer) and master != peer
finally:
    if old.poll() is None:
        old.terminate()
        old.wait()
    if new:
        os.kill(new, signal.SIGTERM)
        until(lambda: not exists(new))
sys.exit(not (prefork and upgraded))
EOP
