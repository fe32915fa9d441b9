#!/usr/bin/env bash
# gRPC's `keepalive_timeout_ms` does not say how long a client waits for the answer to its keepalive ping.
#
# A good engineer guesses: `grpc.keepalive_time_ms` 2000 and `grpc.keepalive_timeout_ms` 1000, which gRPC's guide to
# keepalive explains, close the connection to a server that has frozen after at most 3 seconds.
# In fact: the open call goes on for 60 seconds. What counts is `grpc.http2.ping_timeout_ms`, an option for pings of
# HTTP/2, which the guide does not name and whose default is a minute. With that option at 1000 the call ends at once.
# It matters because: who sets the two documented options expects that a frozen server, or one behind a firewall that drops,
# is noticed in seconds. Calls without a deadline, streams above all, hang for a minute.
# Source: gRPC's guide "Keepalive", GRPC_ARG_KEEPALIVE_TIMEOUT_MS; chttp2_transport.cc and ping_callbacks.h.
. "$(dirname "$0")/prelude"
install grpcio==1.85.3

"$python" - <<'EOP' 2> errors || { cat errors; exit 1; }
import os
import signal
import subprocess
import sys
import threading
import time

import grpc

SERVER = """
import grpc
from concurrent.futures import ThreadPoolExecutor

def greet(requests, context):
    yield b"hello"
    for request in requests:
        pass

class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.stream_stream_rpc_method_handler(greet)

server = grpc.server(ThreadPoolExecutor(4), handlers=[Handler()])
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
"""
DOCUMENTED = [("grpc.keepalive_time_ms", 2000), ("grpc.keepalive_timeout_ms", 1000)]
LIMIT = 20


def seconds_until_noticed(*options):
    """How long a stream to a server that is frozen stays open, at most LIMIT seconds."""
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    ended, noticed = threading.Event(), threading.Event()

    def requests():
        ended.wait()
        yield from ()

    try:
        port = int(server.stdout.readline())
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=[*DOCUMENTED, *options]) as channel:
            call = channel.stream_stream("/a/b")(requests())
            next(call)
            call.add_done_callback(lambda _: noticed.set())
            server.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            noticed.wait(LIMIT)
            lasted = time.monotonic() - began
            print(*DOCUMENTED, *options, f": {lasted:.1f} s,", call.details() if noticed.is_set() else "still open")
            ended.set()
            call.cancel()
            return lasted
    finally:
        server.kill()
        server.wait()


documented = seconds_until_noticed()
with_ping_timeout = seconds_until_noticed(("grpc.http2.ping_timeout_ms", 1000))
sys.exit(not (documented >= LIMIT and with_ping_timeout < 6))
EOP
