"""The agent that sums up packages: a program with an event loop, which sends its heartbeats.

    python -m adsum_demo.adder '{"name": "adder-1", ...}' '{"registry": "/dev/shm/...", ...}'

``heartbeat="loop"`` is all that it does for that. In the middle of its first piece of work it makes a common mistake: a
blocking call in the event loop. The process is alive, so it stays registered; its heartbeats stop, so the
registrar marks it degraded, and a search for healthy members does not find it. The agent does nothing of that itself.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time

import msgspec

from .messages import READ_BYTES, Assignment, Done, Frames, Message, frame, message_frames
from .team import Agent, Team, exit_at_end_of, name_process
from .worker import carry_out


class Adder:
    """Answers every connected caller, one piece of work at a time."""

    def __init__(self, agent: Agent) -> None:
        self._block_seconds = agent.block_seconds

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one caller until it closes the connection."""
        frames: Frames[Message] = message_frames()
        try:
            while part := await reader.read(READ_BYTES):
                for message in frames.feed(part):
                    if isinstance(message, Assignment):
                        writer.write(frame(self._answer(message)))
                        await writer.drain()
        except ConnectionError:
            # The caller was killed. Its successor connects again.
            pass
        finally:
            writer.close()

    def _answer(self, assignment: Assignment) -> Done:
        if self._block_seconds:
            seconds, self._block_seconds = self._block_seconds, 0.0
            # The mistake: a blocking call in a coroutine's thread.
            time.sleep(seconds)
        return Done(assignment.number, carry_out(assignment.work))


async def run(agent: Agent, team: Team) -> None:
    """Serve, and register once callers can connect, until the process is killed."""
    listener, endpoint = team.listen(agent.name)
    with listener:
        start = asyncio.start_server if team.ip else asyncio.start_unix_server
        server = await start(Adder(agent).serve, sock=listener)
        async with team.open_async() as registry:
            await registry.register(
                agent.name, capabilities=set(agent.capabilities), endpoint=endpoint, heartbeat="loop"
            )
            await server.serve_forever()


def main() -> None:
    agent = msgspec.json.decode(sys.argv[1], type=Agent)
    team = msgspec.json.decode(sys.argv[2], type=Team)
    threading.Thread(target=exit_at_end_of, args=(sys.stdin.fileno(),), daemon=True).start()
    name_process(agent.name)
    asyncio.run(run(agent, team))


if __name__ == "__main__":
    main()
