#!/usr/bin/env bash
# A paused etcd leader that wakes has leases revoked which their clients kept alive all the time, with all their keys.
#
# A good engineer guesses: a lease that is renewed well within its time to live lasts. While the leader is paused the
# other members choose a new one, which renews the lease; the former leader finds out that it is none when it wakes.
# In fact: on waking, its own clock says that all leases have expired. It asks whether it still leads, and takes the
# question for answered if its raft loop ticked a moment ago; a process that just woke has ticked. Its orders to revoke
# then reach the new leader, which carries them out. Each lease that was renewed a second ago is gone, in most tries.
# It matters because: a paused virtual machine or a slow disk at one etcd member ends locks, leader elections and service
# registrations of healthy clients everywhere, at once. A lost lease proves nothing about its holder.
# Source: etcd issues 12528 and 15247, said to be mended in 3.5.13 (pull request 17425); server/etcdserver/server.go,
# `ensureLeadership`, and `isActive`, which came with 3.5.16.
. "$(dirname "$0")/prelude"
install grpcio==1.85.3
needs_etcd 3.5.16

"$python" - "$etcd" <<'EOP'
import signal
import socket
import subprocess
import sys
import threading
import time

import grpc

TTL, LEASES, PAUSE, ROUNDS = 4, 40, 9, 8


def varint(number):
    encoded = b""
    while number >= 128:
        encoded, number = encoded + bytes([number & 127 | 128]), number >> 7
    return encoded + bytes([number])


def fields(message):
    """The fields of a protobuf message: numbers, and bytes for what is nested."""
    found, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte, at = message[at], at + 1
            value, shift = value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while at < len(message):
        key = number()
        if key & 7 == 0:
            found[key >> 3] = number()
        else:
            size = number()
            found[key >> 3], at = message[at : at + size], at + size
    return found


def start(program):
    """Three members on loopback: their processes, and a channel to each."""
    sockets = [socket.socket() for _ in range(6)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    urls = [f"http://127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    cluster = ",".join(f"m{number}={urls[3 + number]}" for number in range(3))
    processes = [
        subprocess.Popen(
            [program, f"--name=m{number}", f"--data-dir=m{number}", "--unsafe-no-fsync", "--log-level=error"]
            + [f"--{kind}-client-urls={urls[number]}" for kind in ("listen", "advertise")]
            + [f"--{kind}-peer-urls={urls[3 + number]}" for kind in ("listen", "initial-advertise")]
            + [f"--initial-cluster={cluster}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in range(3)
    ]
    return processes, [grpc.insecure_channel(url.removeprefix("http://")) for url in urls[:3]]


def call(channel, method, request=b""):
    return fields(channel.unary_unary(f"/etcdserverpb.{method}")(request, timeout=20, wait_for_ready=True))


def keep_alive(channel, leases, renewed, stop):
    """Renew all leases twice a second, over a new stream each time, and note when each was renewed last."""
    method = "/etcdserverpb.Lease/LeaseKeepAlive"
    while not stop.is_set():
        try:
            for answer in channel.stream_stream(method)(iter([b"\x08" + varint(lease) for lease in leases]), timeout=1):
                found = fields(answer)
                if found.get(3, 0) > 0:
                    renewed[found[2]] = time.monotonic()
            stop.wait(0.5)
        except grpc.RpcError:
            pass


def one_round(processes, channels, first):
    """Pause the leader while leases are kept through the other members; the number of those lost when it wakes."""
    states = [call(channel, "Maintenance/Status") for channel in channels]
    leader = [fields(state[1])[2] for state in states].index(states[0][4])
    others = [channel for number, channel in enumerate(channels) if number != leader]
    leases, renewed, stop = range(first, first + LEASES), {}, threading.Event()
    for lease in leases:
        call(others[0], "Lease/LeaseGrant", b"\x08" + varint(TTL) + b"\x10" + varint(lease))
    keepers = [threading.Thread(target=keep_alive, args=(one, leases, renewed, stop)) for one in others]
    for keeper in keepers:
        keeper.start()
    time.sleep(2)
    processes[leader].send_signal(signal.SIGSTOP)
    time.sleep(PAUSE)
    kept = sum(time.monotonic() - renewed.get(lease, 0) < 1.5 for lease in leases)
    processes[leader].send_signal(signal.SIGCONT)
    time.sleep(3)
    # The time to live of a lease that does not exist is -1, a very large number on the wire.
    left = [call(others[0], "Lease/LeaseTimeToLive", b"\x08" + varint(lease)).get(3, 0) for lease in leases]
    lost = sum(seconds > 1 << 62 for seconds in left)
    stop.set()
    for keeper in keepers:
        keeper.join()
    print(f"leader paused for {PAUSE} s; renewed within the last 1.5 s: {kept} of {LEASES}; lost after it woke: {lost}")
    return kept == LEASES and lost > 0


processes, channels = start(sys.argv[1])
try:
    sys.exit(not any(one_round(processes, channels, 1000 * (number + 1)) for number in range(ROUNDS)))
finally:
    for process in processes:
        process.kill()
        process.wait()
EOP
