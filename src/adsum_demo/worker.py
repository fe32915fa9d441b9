"""An agent: a process that registers what it can do, works for whoever calls, and says how it is.

    python -m adsum_demo.worker '{"name": "parser-1", ...}' '{"registry": "/dev/shm/...", ...}'

Nothing here prepares for being killed. Its entry is the kernel's business: it ends when the process does.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from pathlib import Path

import msgspec

import adsum

from . import job
from .messages import (
    Assignment,
    Check,
    Connection,
    Count,
    Done,
    Failed,
    Parse,
    Product,
    Read,
    Sum,
    Totals,
    Work,
    listen,
)
from .team import Agent, Team, call_this_process, leave_when_deserted

REPORT_SECONDS = 0.2
# A file of this size keeps an agent busy for a tenth of a second or so, and whoever looks for one should know.
LARGE = 64 * 1024


def main() -> None:
    agent = msgspec.json.decode(sys.argv[1], type=Agent)
    team = msgspec.json.decode(sys.argv[2], type=Team)
    threading.Thread(target=leave_when_deserted, args=(sys.stdin.fileno(),), daemon=True).start()
    call_this_process(agent.name)
    place = Path(team.sockets, agent.name)
    # Only who can be called is registered: from then on somebody may.
    with listen(place) as listener, team.open() as registry:
        registration = registry.register(
            agent.name, capabilities=set(agent.abilities), endpoint=f"unix:{place}", resources=_resources(0)
        )
        worker = Worker(registration)
        while True:
            sock, _ = listener.accept()
            worker.serve(Connection(sock))


class Worker:
    """Does what it is asked, one thing at a time, and keeps its entry up to date."""

    def __init__(self, registration: adsum.Registration) -> None:
        self._registration = registration
        self._finished = 0
        self._reported = time.monotonic()

    def serve(self, caller: Connection) -> None:
        """Answer one caller until it hangs up."""
        with caller.socket:
            while True:
                try:
                    for message in caller.receive():
                        if isinstance(message, Assignment):
                            caller.send(self._answer(message))
                except ConnectionError:
                    # The next one may call.
                    return
                self._report()

    def _answer(self, assignment: Assignment) -> Done | Failed:
        large = _size(assignment.work) > LARGE
        if large:
            # `choose` gives healthy members unless it is asked for others.
            self._registration.update_health("degraded")
        try:
            product = carry_out(assignment.work)
        except job.Inconsistent as error:
            return Failed(assignment.number, str(error))
        finally:
            if large:
                self._registration.update_health("healthy")
        self._finished += 1
        return Done(assignment.number, product)

    def _report(self) -> None:
        now = time.monotonic()
        if now - self._reported >= REPORT_SECONDS:
            self._reported = now
            self._registration.update(resources=_resources(self._finished))


def carry_out(work: Work) -> Product:
    match work:
        case Read(path):
            return job.read(Path(path))
        case Parse(text):
            return job.parse(text)
        case Count(text):
            return job.count(text)
        case Check(name, source, symbols, lines):
            return job.check(name, source, symbols, lines)
        case Sum(_, files):
            return Totals(job.sum_up(files))


def _size(work: Work) -> int:
    return len(work.text) if isinstance(work, (Parse, Count)) else 0


def _resources(finished: int) -> dict[str, int | float | str]:
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"tasks_done": finished, "memory_mb": round(memory / 1024, 1)}


if __name__ == "__main__":
    main()
