#!/usr/bin/env bash
# A forked child that tidies up its copy of an asyncio loop makes the parent deaf.
#
# A good engineer guesses: after fork the child has copies; what it does to its copy of the event loop does not reach
# the parent.
# In fact: an epoll set belongs to the open file description, which fork shares. `remove_reader` in the child,
# which closing a transport calls too, takes the descriptor out of the parent's set. The parent's loop still lists the
# reader, and never hears of it again. No error is raised on either side.
# It matters because: a program that waits for pidfds or sockets in an event loop and forks with `os.fork` or
# multiprocessing can lose its notices of deaths in silence. A forked child may only forget its loop, or exec.
# Source: epoll(7), Questions and answers; epoll_ctl(2): a registration is the pair of number and open file description.
. "$(dirname "$0")/prelude"

"$python" - <<'EOP'
import asyncio
import os
import sys


async def heard(event: asyncio.Event, write: int) -> bool:
    event.clear()
    os.write(write, b"x")
    try:
        await asyncio.wait_for(event.wait(), timeout=1)
    except asyncio.TimeoutError:
        return False
    return True


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
    return before and not after and listed


sys.exit(not asyncio.run(main()))
EOP
