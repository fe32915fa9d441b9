"""A coordinator's process: stands by for the coordinator's id, and leads when it has it.

    python -m adsum_demo.leader ORDERS < lifeline > told

Two of them run from the start, and they are the same. The first gets the id at once. When it is killed, the registry
gives the id to the other in the very commit that takes the dead one out, and that one goes on from the journal. It
follows the registry from the revision up to which the journal tells, so it misses no death that the other did not live
to write down, and counts none twice.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path

import msgspec

import adsum

from . import journal
from .backlog import Backlog
from .coordinator import Coordinator, DemoFailed
from .journal import Began, Finished, Journal, Summed
from .status import Over, send_update
from .team import COORDINATOR, Team, call_this_process, leave_when_deserted
from .witness import Witness


class Orders(msgspec.Struct, frozen=True):
    """The job: the files below `root`, of which `ahead` may be begun at a time."""

    team: Team
    root: str
    names: list[str]
    ahead: int
    journal: str


def main() -> None:
    orders = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Orders)
    told = sys.stdout.fileno()
    threading.Thread(target=leave_when_deserted, args=(sys.stdin.fileno(),), daemon=True).start()
    call_this_process(COORDINATOR)
    with orders.team.open() as registry:
        registration = registry.stand_by(COORDINATOR, type="coordinator").result()
        try:
            lead(orders, registry, registration, told)
        except (DemoFailed, adsum.AdsumError) as error:
            send_update(Over(str(error)), told)
        else:
            send_update(Over(""), told)
        # Until the command has heard it; were the id free before, the other one would lead.
        threading.Event().wait()


def lead(orders: Orders, registry: adsum.Registry, registration: adsum.Registration, told: int) -> None:
    """Finish the job. Errors: `DemoFailed`, and the registry's."""
    with contextlib.ExitStack() as closing:
        book = closing.enter_context(contextlib.closing(Journal(Path(orders.journal))))
        watch = closing.enter_context(registry.watch(type="agent", since=journal.revision(book.records)))
        witness = closing.enter_context(contextlib.closing(Witness(registry)))
        coordinator = closing.enter_context(
            contextlib.closing(
                Coordinator(
                    witness, registration, backlog(orders, book), book, watch, lambda state: send_update(state, told)
                )
            )
        )
        before = [record for record in book.records if isinstance(record, Began)]
        book.write(Began(os.getpid(), int(watch.revision)))
        if before:
            done = sum(isinstance(record, Finished) for record in book.records)
            coordinator.note(
                f"the coordinator (pid {before[-1].pid}) is gone; pid {os.getpid()}, which stood by, goes on from "
                f"{done} of {len(orders.names)} files"
            )
        coordinator.run()


def backlog(orders: Orders, book: Journal) -> Backlog:
    """What the journal leaves to be done."""
    return Backlog(
        Path(orders.root),
        orders.names,
        orders.ahead,
        [record.report for record in book.records if isinstance(record, Finished)],
        {record.package: record.totals for record in book.records if isinstance(record, Summed)},
    )


if __name__ == "__main__":
    main()
