"""An agent: a process that registers its capabilities, answers its callers, and reports its health.

    python -m adsum_demo.worker '{"name": "parser-1", ...}' '{"registry": "/dev/shm/...", ...}'

Nothing here prepares for SIGKILL. The registry learns of the death from the kernel, and removes the entry.
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
)
from .team import Agent, Team, exit_at_end_of, name_process

REPORT_SECONDS = 0.2
# A file of this size keeps an agent busy for about a tenth of a second. Meanwhile a search should prefer another agent.
LARGE = 64 * 1024


def main() -> None:
    agent = msgspec.json.decode(sys.argv[1], type=Agent)
    team = msgspec.json.decode(sys.argv[2], type=Team)
    threading.Thread(target=exit_at_end_of, args=(sys.stdin.fileno(),), daemon=True).start()
    name_process(agent.name)
    # Listen first, then register: a caller may connect as soon as the entry is visible.
    listener, endpoint = team.listen(agent.name)
    with listener, team.open() as registry:
        registration = registry.register(
            agent.name, capabilities=set(agent.capabilities), endpoint=endpoint, resources=_resources(0)
        )
        worker = Worker(registration)
        while True:
            sock, _ = listener.accept()
            worker.serve(Connection(sock))


class Worker:
    """Works on one assignment at a time, and keeps its entry up to date."""

    def __init__(self, registration: adsum.Registration) -> None:
        self._registration = registration
        self._finished = 0
        self._reported = time.monotonic()

    def serve(self, caller: Connection) -> None:
        """Answer one caller until it closes the connection."""
        with caller.socket:
            while True:
                try:
                    for message in caller.receive():
                        if isinstance(message, Assignment):
                            caller.send(self._answer(message))
                except ConnectionError:
                    # The caller was killed. Its successor connects again.
                    return
                self._report()

    def _answer(self, assignment: Assignment) -> Done | Failed:
        large = _size(assignment.work) > LARGE
        if large:
            # `choose` returns healthy members unless it is asked for others.
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
    """The product of a piece of work. Errors: `job.Inconsistent`."""
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
