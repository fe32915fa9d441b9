"""The agent that sums up packages: a program with an event loop, whose signs of life the loop gives.

    python -m adsum_demo.adder '{"name": "adder-1", ...}' '{"registry": "/dev/shm/...", ...}'

``heartbeat="loop"`` is all that it does for that. In the middle of its first piece of work it makes the mistake that
event loops are prone to and calls what blocks. For as long as that lasts the process is alive, so it stays registered,
but its signs of life do not come, so the registrar calls it degraded, and nobody who looks for a healthy member finds
it. Nothing of that is its own doing.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from pathlib import Path

import msgspec

from .messages import Assignment, Done, Frames, Message, conversation, framed, listen
from .team import Agent, Team, call_this_process, leave_when_deserted
from .worker import carry_out


class Adder:
    """Serves whoever calls, one piece after the other."""

    def __init__(self, agent: Agent) -> None:
        self._blocks = agent.blocks

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one caller until it hangs up."""
        frames: Frames[Message] = conversation()
        try:
            while part := await reader.read(1 << 20):
                for message in frames.feed(part):
                    if isinstance(message, Assignment):
                        writer.write(framed(self._answer(message)))
                        await writer.drain()
        except ConnectionError:
            # The caller was killed. The next one may call.
            pass
        finally:
            writer.close()

    def _answer(self, assignment: Assignment) -> Done:
        if self._blocks:
            blocked, self._blocks = self._blocks, 0.0
            # The mistake: what the loop calls must not wait.
            time.sleep(blocked)
        return Done(assignment.number, carry_out(assignment.work))


async def run(agent: Agent, team: Team) -> None:
    place = Path(team.sockets, agent.name)
    with listen(place) as listener:
        server = await asyncio.start_unix_server(Adder(agent).serve, sock=listener)
        async with team.open_async() as registry:
            await registry.register(
                agent.name, capabilities=set(agent.abilities), endpoint=f"unix:{place}", heartbeat="loop"
            )
            await server.serve_forever()


def main() -> None:
    agent = msgspec.json.decode(sys.argv[1], type=Agent)
    team = msgspec.json.decode(sys.argv[2], type=Team)
    threading.Thread(target=leave_when_deserted, args=(sys.stdin.fileno(),), daemon=True).start()
    call_this_process(agent.name)
    asyncio.run(run(agent, team))


if __name__ == "__main__":
    main()
