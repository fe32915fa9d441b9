"""Serves one client on standard input and output.

The SDK's transport reads in a thread, which no cancellation ends: a server would wait at Ctrl-C until its client says
something more. So the event loop waits for the two descriptors itself, and each is used only when it is ready.

The descriptors are moved away first. What else in this process reads standard input gets its end, and what else prints
goes to standard error, so nothing but messages is ever between the client and the server.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from mcp.server.stdio import stdio_server

from .clients import Parent, PipeClient
from .ending import ended_by_signals, ended_with
from .server import AgentServer

if TYPE_CHECKING:
    from anyio import AsyncFile

    from .. import AsyncRegistry

# Bytes of one message of a client. The SDK has the same bound for a request over HTTP.
MAX_MESSAGE = 4 << 20
_READ_BYTES = 65536
# A pipe that is writable takes so many bytes at once (PIPE_BUF, pipe(7)), and so does a socket.
_WRITE_BYTES = 4096

log = logging.getLogger("adsum")


def run(registry: AsyncRegistry, *, writes: bool) -> None:
    """Serve one client, and close the registry."""

    async def main() -> None:
        async with registry:
            await serve(registry, writes=writes)

    asyncio.run(main())


async def serve(registry: AsyncRegistry, *, writes: bool) -> None:
    """Serve until the client closes standard input, ends, or a signal asks to end."""
    parent = Parent()
    end = asyncio.Event()
    server = AgentServer(registry, PipeClient(parent), writes=writes)
    with _own_descriptors() as (reads, prints), ended_by_signals(end), ended_with(parent, end):
        serving = asyncio.ensure_future(_serve(server, InputLines(reads), OutputWriter(prints)))
        ending = asyncio.ensure_future(end.wait())
        try:
            await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (serving, ending):
                task.cancel()
            await asyncio.wait({serving, ending})
            await server.close()
        if not serving.cancelled():
            # Raises what ended it, if that was an error.
            serving.result()


async def _serve(server: AgentServer, lines: InputLines, printer: OutputWriter) -> None:
    streams = stdio_server(cast("AsyncFile[str]", lines), cast("AsyncFile[str]", printer))
    async with streams as (read_stream, write_stream):
        await server.run(read_stream, write_stream, server.create_initialization_options())


@contextmanager
def _own_descriptors() -> Iterator[tuple[int, int]]:
    """Copies of standard input and output that no other code and no child has."""
    sys.stdout.flush()
    copies = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3) for number in (0, 1)]
    try:
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nowhere, 0)
        os.close(nowhere)
        os.dup2(2, 1)
        yield copies[0], copies[1]
    finally:
        for number, copy in enumerate(copies):
            os.dup2(copy, number)
            os.close(copy)


class InputLines:
    """The lines of a descriptor: what the SDK needs of an asynchronous text file to read."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = bytearray()
        # How much of the buffer is known to have no line's end.
        self._searched = 0

    def __aiter__(self) -> InputLines:
        return self

    async def __anext__(self) -> str:
        while (end := self._buffer.find(b"\n", self._searched)) < 0:
            self._searched = len(self._buffer)
            if len(self._buffer) > MAX_MESSAGE:
                log.error("adsum mcp: the client sent a message of more than %d bytes; the session ends", MAX_MESSAGE)
                raise StopAsyncIteration
            await _ready(self._descriptor, select.POLLIN)
            if not (part := _read(self._descriptor)):
                raise StopAsyncIteration
            self._buffer += part
        line = self._buffer[: end + 1].decode(errors="replace")
        del self._buffer[: end + 1]
        self._searched = 0
        return line


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _READ_BYTES)
    except OSError:
        # The client has reset the connection, or the terminal is gone. It is as its end.
        return b""


class OutputWriter:
    """Writes to a descriptor: what the SDK needs of an asynchronous text file to write."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def write(self, text: str) -> int:
        rest = memoryview(text.encode(errors="replace"))
        try:
            while rest:
                await _ready(self._descriptor, select.POLLOUT)
                rest = rest[os.write(self._descriptor, rest[:_WRITE_BYTES]) :]
        except OSError:
            # The client reads no more, so it has ended, or will end its side of standard input. Then the server ends.
            return 0
        return len(text)

    async def flush(self) -> None:
        """All was written."""


async def _ready(descriptor: int, event: int) -> None:
    """Wait until a descriptor can be read from or written to."""
    poll = select.poll()
    poll.register(descriptor, event)
    if poll.poll(0):
        return
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    add: Callable[..., None] = loop.add_reader if event == select.POLLIN else loop.add_writer
    remove = loop.remove_reader if event == select.POLLIN else loop.remove_writer
    add(descriptor, _set, ready)
    try:
        await ready
    finally:
        remove(descriptor)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
