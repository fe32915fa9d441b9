"""The observer of a host: it reads the registry of its host all the time, as any program there would.

    python -P -m adsum_demo.cluster.observer ORDERS < lifeline <> socket

Each answer is checked (see `deaths`). When the conductor is about to kill an agent of any host, the observer looks that
agent up without a pause, and says when the first lookup did not find it.
"""

from __future__ import annotations

import os
import random
import select
import socket
import sys
import threading
import time
from pathlib import Path

import msgspec

import adsum

from ..job import STAGES, SUMMING
from ..team import exit_at_end_of, name_process
from . import control
from .deaths import ClusterWitness, Deaths

PAUSE_MS = 10
COUNTS_SECONDS = 0.2
# Between two lookups of an agent that is sought: at first, and when it has taken long.
SEEK_SECONDS, LATER_SEEK_SECONDS = 0.0002, 0.002
LONG_SECONDS = 0.2


class Observer:
    """Reads, and counts."""

    def __init__(self, witness: ClusterWitness, sock: socket.socket) -> None:
        self._witness = witness
        self._sock = sock
        self._inbox: control.Inbox[control.Seek] = control.Inbox(sock.fileno(), control.Seek)
        self._sought: control.Seek | None = None
        self._was_found = False
        self._since = 0.0
        self._counted = 0.0
        self._chance = random.Random(os.getpid())

    def run(self) -> None:
        """Read until the conductor's end of the socket is closed."""
        poll = select.poll()
        poll.register(self._inbox, select.POLLIN)
        while True:
            if poll.poll(0 if self._sought else PAUSE_MS):
                messages = self._inbox.receive()
                if messages is None:
                    return
                for message in messages:
                    self._seek(message)
            if self._sought is None:
                self._read()
            else:
                self._look(self._sought)
            if time.monotonic() > self._counted + COUNTS_SECONDS:
                self._count()

    def _seek(self, message: control.Seek) -> None:
        self._sought = message if message.process is not None else None
        self._was_found, self._since = False, time.monotonic()

    def _look(self, sought: control.Seek) -> None:
        process = sought.process
        if process is None:
            return
        entry = self._witness.lookup(adsum.ProcessId(self._witness.registry.namespace, process.host, sought.name))
        at = time.monotonic()
        is_it = entry is not None and (entry.pid, entry.start_time) == (process.pid, process.start_time)
        if is_it and not self._was_found:
            self._was_found = True
            control.send(self._sock, control.Found(sought.name))
        elif self._was_found and not is_it:
            self._sought = None
            control.send(self._sock, control.Gone(sought.name, at))
            return
        is_long = not is_it or at > self._since + LONG_SECONDS
        time.sleep(LATER_SEEK_SECONDS if is_long else SEEK_SECONDS)

    def _read(self) -> None:
        """One of each kind of read."""
        members = self._witness.find(type="agent")
        self._witness.choose(capability=self._chance.choice((*STAGES, SUMMING)))
        if members:
            self._witness.lookup(self._chance.choice(members).process_id)

    def _count(self) -> None:
        self._counted = time.monotonic()
        witness = self._witness
        counts = control.Counts(witness.lookups, witness.finds, witness.dead_handed_out, witness.staleness)
        control.send(self._sock, counts)


def main() -> None:
    orders = msgspec.json.decode(sys.argv[1], type=control.HostOrders)
    threading.Thread(target=exit_at_end_of, args=(sys.stdin.fileno(),), daemon=True).start()
    name_process("observer")
    with orders.team.open() as registry, socket.socket(fileno=os.dup(sys.stdout.fileno())) as sock:
        witness = ClusterWitness(registry, Deaths(Path(orders.deaths)), orders.team.node, orders.bound)
        try:
            Observer(witness, sock).run()
        except (BrokenPipeError, ConnectionResetError):
            # The conductor has ended.
            return


if __name__ == "__main__":
    main()
