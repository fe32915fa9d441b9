#!/usr/bin/env bash
# A server of the MCP SDK on standard input and output ignores Ctrl-C until its client sends another line.
#
# A good engineer guesses: Ctrl-C, or SIGINT from a supervisor, ends a server that waits for its next request.
# In fact: the SDK reads standard input in a thread (`anyio.wrap_file`). The interrupt cancels the server's tasks, and
# the one that waits for the thread cannot be cancelled while `readline` blocks. The server goes on waiting, after a
# second Ctrl-C too, and ends as soon as its client writes any line or closes the pipe.
# It matters because: a supervisor that ends such a server with SIGINT waits until the client moves, and a terminal on
# which one was started by hand seems to be dead. SIGTERM, which Python does not turn into an exception, ends it at
# once, without any cleanup.
# Source: mcp.server.stdio.stdio_server; anyio.to_thread.run_sync, `abandon_on_cancel=False`; seen with the version
# below.
. "$(dirname "$0")/prelude"
install mcp==2.3.0

cat > server.py <<'EOP'
from mcp.server import MCPServer

MCPServer("demo").run()
EOP

cat > client.py <<'EOP'
import json
import signal
import subprocess
import sys

hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "client", "version": "1"}}
request = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
server = subprocess.Popen(
    [sys.executable, "server.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
)
server.stdin.write(json.dumps(request).encode() + b"\n")
assert b'"result"' in server.stdout.readline()


def ends_within(seconds):
    try:
        server.wait(seconds)
    except subprocess.TimeoutExpired:
        return "runs"
    return "ended"


print("answers initialize")
for _ in range(2):
    server.send_signal(signal.SIGINT)
    print("SIGINT, 5 s later:", ends_within(5))
server.stdin.write(b"\n")
print("a line from the client:", ends_within(30))
server.kill()
server.wait()
EOP
"$python" client.py | tee seen
[ "$(sed 's/.*: //' seen | tr '\n' ',')" = "answers initialize,runs,runs,ended," ]
