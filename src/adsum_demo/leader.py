"""The process of a coordinator: stands by for the coordinator's id, and leads once it holds the id.

    python -m adsum_demo.leader ORDERS < lifeline > status

Two of these processes run from the start. The first gets the id at once. When it is killed, the registry grants the id
to the other in the same commit that removes the dead holder, and that one continues from the journal. It follows the
registry from the journal's last revision. So it sees every death that its predecessor had no time to write down, and
counts none twice.

In a cluster there is one on each host, and the id is a name of the whole cluster. Revisions are those of one registry,
so a successor begins with the present. One that loses the name, because its host has lost its lease, stands by again.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path

import msgspec

import adsum

from .backlog import Backlog
from .cluster.deaths import ClusterWitness, Deaths
from .coordinator import Coordinator, DemoFailed, NameLost
from .journal import FileResult, Journal, PackageResult, TermStart, last_revision
from .status import JobEnd, send_status
from .team import COORDINATOR, Team, exit_at_end_of, name_process
from .witness import CheckedReads, Witness


class Orders(msgspec.Struct, frozen=True):
    """The job: the files below `root`, of which at most `max_open_files` are open at a time. In a cluster `deaths` is
    the file with all ends of processes, and `bound` the seconds after which no host may find one of them. The last
    part of the job waits until the file `gate` is there."""

    team: Team
    root: str
    names: list[str]
    max_open_files: int
    journal: str
    deaths: str = ""
    bound: float = 0.0
    gate: str = ""


def main() -> None:
    orders = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Orders)
    output = sys.stdout.fileno()
    threading.Thread(target=exit_at_end_of, args=(sys.stdin.fileno(),), daemon=True).start()
    name_process(COORDINATOR)
    everywhere = bool(orders.team.cluster)
    with orders.team.open() as registry:
        while True:
            registration = registry.stand_by(COORDINATOR, type="coordinator", everywhere=everywhere).result()
            try:
                lead(orders, registry, registration, output)
            except (DemoFailed, adsum.AdsumError) as error:
                if everywhere and isinstance(error, (NameLost, adsum.NotRegistered)):
                    registration.unregister()
                    continue
                send_status(JobEnd(str(error)), output)
            else:
                send_status(JobEnd(""), output)
            break
        # Hold the id until the command closes the lifeline. If it were free before, the other process would lead.
        threading.Event().wait()


def lead(orders: Orders, registry: adsum.Registry, registration: adsum.Registration, output: int) -> None:
    """Finish the job, with status updates on the descriptor `output`. Errors: `DemoFailed`, and the registry's."""
    with contextlib.ExitStack() as stack:
        token = registration.fencing_token
        journal = stack.enter_context(contextlib.closing(Journal(Path(orders.journal), token)))
        since = None if token else last_revision(journal.records)
        watch = stack.enter_context(registry.watch(type="agent", since=since))
        witness = stack.enter_context(contextlib.closing(_witness(orders, registry)))
        coordinator = Coordinator(
            witness,
            registration,
            backlog(orders, journal),
            journal,
            watch,
            lambda status: send_status(status, output),
            Path(orders.gate) if orders.gate else None,
        )
        stack.enter_context(contextlib.closing(coordinator))
        earlier = [record for record in journal.records if isinstance(record, TermStart)]
        journal.write(TermStart(os.getpid(), int(watch.revision), orders.team.node, token))
        if earlier:
            done = sum(isinstance(record, FileResult) for record in journal.records)
            before, now = (f"pid {pid}" for pid in (earlier[-1].pid, os.getpid()))
            if token:
                before, now = f"{before} on {earlier[-1].host}", f"{now} on {orders.team.node}"
            coordinator.note(
                f"coordinator {before} {'is gone' if token else 'died'}; its stand-by, {now}, continues from "
                f"{done} of {len(orders.names)} files"
            )
        coordinator.run()


def _witness(orders: Orders, registry: adsum.Registry) -> CheckedReads:
    if not orders.deaths:
        return Witness(registry)
    return ClusterWitness(registry, Deaths(Path(orders.deaths)), orders.team.node, orders.bound)


def backlog(orders: Orders, journal: Journal) -> Backlog:
    """The work that the journal leaves to be done."""
    return Backlog(
        Path(orders.root),
        orders.names,
        orders.max_open_files,
        [record.report for record in journal.records if isinstance(record, FileResult)],
        {record.package: record.totals for record in journal.records if isinstance(record, PackageResult)},
    )


if __name__ == "__main__":
    main()
