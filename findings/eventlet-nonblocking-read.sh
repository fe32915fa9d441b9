#!/usr/bin/env bash
# With eventlet, `os.read` of an empty non-blocking pipe waits, and so does `os.write` to a full one.
#
# A good engineer guesses: a descriptor with O_NONBLOCK never waits; the read raises BlockingIOError, and a loop that
# empties a wake-up pipe until then ends.
# In fact: after `monkey_patch()`, `os.read` and `os.write` catch EAGAIN, switch to other greenlets, and try again until
# the kernel has data or room. `posix.read`, the same function under its other name, raises as before.
# It matters because: the usual wake-up pipe of an event loop is emptied by reading until EAGAIN. In a program that was
# patched, the greenlet that does so waits for the next wake-up instead, and with it what it was to do now.
# Source: eventlet.green.os, `read` and `write`; seen with the versions below.
. "$(dirname "$0")/prelude"
install eventlet==0.41.3

"$python" -W ignore - <<'EOP'
import eventlet

eventlet.monkey_patch()

import os
import posix
import sys
import time

reading, writing = os.pipe2(os.O_NONBLOCK)
try:
    plain = repr(posix.read(reading, 1))
except BlockingIOError:
    plain = "BlockingIOError at once"
began = time.monotonic()
eventlet.spawn_after(0.5, os.write, writing, b"x")
got = os.read(reading, 1)
waited = time.monotonic() - began
print(f"posix.read of an empty non-blocking pipe: {plain}")
print(f"os.read of the same pipe: {got!r} after {waited:.1f} s")
sys.exit(not (plain.startswith("BlockingIOError") and got == b"x" and waited > 0.4))
EOP
