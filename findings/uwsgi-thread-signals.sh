#!/usr/bin/env bash
# A program that a uWSGI worker with threads starts cannot be ended by SIGTERM.
#
# A good engineer guesses: `Popen.terminate()` ends a plain program such as `sleep`, from whatever server it is started.
# In fact: with `--threads` uWSGI blocks all signals in its request threads, a child inherits the mask of the thread
# that starts it, and exec keeps it. Python's `subprocess` restores ignored signals, but no mask. SIGTERM, SIGINT and
# SIGCHLD stay blocked in the program, in silence; only SIGKILL works. It depends on the thread that took the request,
# so the same code works at one time and not at the next.
# It matters because: helpers started from a request outlive every polite stop, and are then killed without cleaning up.
# Give the mask back first: `signal.pthread_sigmask(signal.SIG_SETMASK, [])` around the start.
# Source: uWSGI, core/loop.c, simple_loop_run; signal(7) and execve(2): the mask is kept.
. "$(dirname "$0")/prelude"
install uwsgi==2.0.31

cat > app.py <<'EOP'
import json
import signal
import subprocess
import time


def application(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/ready":
        return [b"ready"]
    blocked = signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with subprocess.Popen(["sleep", "60"]) as child:
        child.terminate()
        try:
            child.wait(1)
            ended = True
        except subprocess.TimeoutExpired:
            ended = False
        child.kill()
    time.sleep(0.2)
    return [json.dumps([blocked, ended]).encode()]
EOP
cat > ask.py <<'EOP'
import json
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    ADDRESS = free.getsockname()


def ask(path: str) -> str:
    with socket.create_connection(ADDRESS, timeout=30) as client:
        client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return b"".join(iter(lambda: client.recv(4096), b"")).split(b"\r\n\r\n", 1)[1].decode()


def answers(threads: int) -> set[tuple[bool, bool]]:
    """Pairs: SIGTERM is blocked in the request's thread, and the program that it started ended by SIGTERM."""
    flags = ["--master", "--http-socket", "{}:{}".format(*ADDRESS), "--wsgi-file", "app.py", "--disable-logging"]
    server = subprocess.Popen(
        ["venv/bin/uwsgi", *flags, "--enable-threads", "--threads", str(threads)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 15
        while True:
            try:
                ask("/ready")
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        with ThreadPoolExecutor(4) as clients:
            return {tuple(json.loads(text)) for text in clients.map(ask, ["/work"] * 4)}
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


one, four = answers(1), answers(4)
print(f"pairs (SIGTERM blocked in the thread, the program ended by SIGTERM): 1 thread {one}, 4 threads {four}")
sys.exit(not (one == {(False, True)} and (True, False) in four and four <= {(True, False), (False, True)}))
EOP
"$python" ask.py
