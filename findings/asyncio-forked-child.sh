#!/usr/bin/env bash
# A forked child that tidies up its copy of an asyncio loop makes the parent deaf.
#
# A good engineer guesses: after fork the child has copies; what it does to its copy of the event loop does not reach
# the parent.
# In fact: an epoll set belongs to the open file description, which fork shares. `remove_reader` in the child,
# which closing a transport calls too, takes the descriptor out of the parent's set. The parent's loop still lists the
# reader, and never hears of it again. A child that merely leaves by `sys.exit` lets `asyncio.run` close the loop, and
# with it the pipe by which threads and signals wake the parent: `to_thread` and signal handlers are then late until
# the next timer. No error is raised on either side.
# It matters because: a program that waits for pidfds or sockets in an event loop and forks with `os.fork` or
# multiprocessing can lose its notices of deaths in silence. A forked child may only `os._exit`, or exec.
# Source: epoll(7), Questions and answers; epoll_ctl(2): a registration is the pair of number and open file description.
. "$(dirname "$0")/prelude"

"$python" - <<'EOP'
import asyncio
import os
import sys
import time


async def heard(event: asyncio.Event, write: int) -> bool:
    event.clear()
    os.write(write, b"x")
    try:
        await asyncio.wait_for(event.wait(), timeout=1)
    except asyncio.TimeoutError:
        return False
    return True


async def seconds_for_a_thread() -> float:
    """How long `to_thread` takes for nothing, where the next timer is 3 seconds away."""
    timer = asyncio.get_running_loop().call_later(3, int)
    start = time.monotonic()
    await asyncio.to_thread(int)
    timer.cancel()
    return time.monotonic() - start


async def main() -> bool:
    loop = asyncio.get_running_loop()
    read, write = os.pipe()
    event = asyncio.Event()
    loop.add_reader(read, lambda: (os.read(read, 1), event.set()))
    before = await heard(event, write)
    child = os.fork()
    if child == 0:
        loop.remove_reader(read)
        os._exit(0)
    os.waitpid(child, 0)
    after = await heard(event, write)
    listed = loop.remove_reader(read)
    print(f"parent hears the pipe before the fork: {before}; after the child's remove_reader: {after}")
    print(f"the parent's loop still lists the reader: {listed}")
    prompt = await seconds_for_a_thread()
    child = os.fork()
    if child == 0:
        sys.exit()
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.01)
    late = await seconds_for_a_thread()
    print(f"to_thread takes {prompt:.2f} s in the parent, and {late:.2f} s after a forked child has left by sys.exit()")
    return before and not after and listed and prompt < 2 <= late


sys.exit(not asyncio.run(main()))
EOP
