"""`Registration`: an entry that this process registered, with the calls that act on it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Unpack

from ._amendment import UpdateKeywords
from ._calls import Calls, Write
from ._catching_up import published
from ._client.target import WholeProcess
from ._everywhere import latest, renewed
from ._of_one_process import OfOneProcess
from ._only_sync import OnlySync
from ._validation import AnyHealth
from .errors import AdsumError, Stale
from .member_gauges import Gauges
from .model import Entry, ProcessId


class Registration(OfOneProcess, OnlySync):
    """A registration that this process made. Its calls act on its own incarnation, and never on a later holder of the
    same id. Made by `Registry.register` and its relatives.

    - `entry`: the entry as this object last saw it.

    As a context manager it unregisters at the end of the block, but only in the process that made it: a forked child
    that leaves the block ends nothing. Dropping the object ends nothing either; the entry lives as long as its member.

    >>> with registry.register("planner-1") as registration:
    ...     print(registration.process_id.local_id, "planner-1" in registry)
    planner-1 True
    >>> "planner-1" in registry
    False
    """

    _instead = "pass its entry or its id, and call update() or unregister() of a registry there"

    def __init__(self, calls: Calls, entry: Entry) -> None:
        self._pid = os.getpid()
        self._calls = calls
        self.entry = entry
        self._gauges: Gauges | None = None
        calls.keep_current(self)

    def __repr__(self) -> str:
        return f"<Registration {self.process_id} incarnation={self.entry.incarnation}>"

    @property
    def process_id(self) -> ProcessId:
        """The registered id.

        >>> registry.register("planner-1").process_id.local_id
        'planner-1'
        """
        return self.entry.process_id

    @property
    def fencing_token(self) -> int:
        """The number of the name in the whole cluster, for what the holder writes to; 0 for a name of this host alone.

        It is larger for each later holder, on any host. It also grows when the lease of this host was lost and got
        again, so ask for it each time.

        >>> registry.register("planner-1").fencing_token
        0
        """
        entry = self._calls.reader.lookup(self.process_id)
        if entry is not None and entry.incarnation == self.entry.incarnation:
            self.entry = entry
        return self.entry.fencing_token

    @property
    def valid(self) -> bool:
        """Whether this registration holds its id now, as far as this host can know. For a name of the whole cluster
        also: whether etcd has answered the host's last heartbeat not longer ago than the time to live of its lease, on
        the clock that goes on while the machine is suspended. After that another host may hold the name.

        A program that was stopped between asking and acting cannot know: that is what `fencing_token` is for.

        >>> registration = registry.register("planner-1")
        >>> registration.valid
        True
        """
        reader = self._calls.reader
        entry = reader.lookup(self.process_id)
        if entry is None or entry.incarnation != self.entry.incarnation:
            return False
        return not entry.fencing_token or (entry.fencing_token > 0 and reader.is_vouched_for())

    @property
    def gauges(self) -> Gauges:
        """The gauges of this entry: names with the present values, which can be set. See `Gauges`.

        >>> registration = registry.register("planner-1", gauges={"load": 0.0})
        >>> registration.gauges["load"] = 0.7
        >>> registry["planner-1"].gauges
        {'load': 0.7}
        """
        if self._gauges is None:
            self._gauges = self._calls.gauges_of(self.entry)
        return self._gauges

    def update(
        self,
        *,
        merge: bool = False,
        add: Mapping[str, int | float] | None = None,
        if_revision: int | None = None,
        timeout: float | None = None,
        **metadata: Unpack[UpdateKeywords],
    ) -> Entry:
        """Replace the given metadata fields of this entry, each as a whole, merge into them, or add to numbers in them.
        Returns the new entry.

        The arguments are those of `Registry.update`. Errors: as there; `Stale` where another incarnation holds the
        id, too; `NotRegistered` where none does.

        >>> registration = registry.register("planner-1")
        >>> registration.update(custom={"task": 7}).metadata.custom
        {'task': 7}
        >>> registration.update(add={"custom.done": 1}).metadata.custom
        {'task': 7, 'done': 1}
        """
        entry = self.entry
        write = self._calls.amend(
            entry.process_id, metadata, entry.incarnation, merge=merge, add=add, if_revision=if_revision
        )
        return self._changed(entry, write, timeout)

    def update_health(self, status: AnyHealth, *, timeout: float | None = None) -> Entry:
        """Set the health status of this entry, and its `last_health_check` to now. Returns the new entry.

        `status` is a `HealthStatus`. Errors: as `update`.

        >>> registration = registry.register("planner-1")
        >>> registration.update_health("degraded").metadata.health_status.value
        'degraded'
        """
        entry = self.entry
        write = self._calls.update(entry.process_id, {"health_status": status}, entry.incarnation, checked=True)
        return self._changed(entry, write, timeout)

    def unregister(self, *, timeout: float | None = None) -> bool:
        """Remove this entry. Returns whether it was there; it is not where its process has died, for one.

        `timeout` is in seconds, as in `Registry.register`. Errors: `Stale` where another incarnation holds the id;
        `SystemBusy`; `Timeout`.

        >>> registration = registry.register("planner-1")
        >>> registration.unregister(), registration.unregister()
        (True, False)
        """
        write = self._calls.unregister(self.process_id, self.entry.incarnation)
        return self._calls.wait(write, timeout).changed

    def heartbeat(self, *, timeout: float | None = None) -> Entry:
        """Send a heartbeat for this entry, which promises them. Returns the entry; see `Registry.heartbeat`.

        Errors: those of `Registry.heartbeat`; `Stale` where another incarnation holds the id.

        >>> registration = registry.register("planner-1", heartbeat=5.0)
        >>> registration.heartbeat().metadata.health_status.value
        'healthy'
        """
        entry = self.entry
        left = self._calls.leave_heartbeat(entry.process_id, entry.incarnation, timeout)
        if left is None:
            write = self._calls.heartbeat(entry.process_id, entry.incarnation)
            return self._changed(entry, write, timeout)
        self.entry = left
        return left

    def hand_over(self, process: WholeProcess, *, timeout: float | None = None) -> Entry:
        """Give the id to another living process, in one step: no reader ever finds it free. Returns the new entry,
        which has the same metadata and a new incarnation. This registration is stale from then on.

        A name of the whole cluster goes along: it is free for no host on the way, and the new holder has a larger
        fencing token. Until the cluster has given that, 5 s at most or the `timeout`, the call waits; where it has not
        by then, the `fencing_token` of the entry is below 0, and the name is not `valid`, until it has.

        - `process`: as in `Registry.register`, but neither a thread nor a task.
        - `timeout`: seconds, as in `Registry.register`.

        Errors: `DeadProcess`; `Stale` where another incarnation holds the id; `NotRegistered`; `TypeError` for a thread
        or task; `SystemBusy`; `Timeout`.

        >>> registration = registry.register("leader")
        >>> with subprocess.Popen(["sleep", "60"]) as successor:
        ...     print(registration.hand_over(successor).pid == successor.pid)
        ...     successor.kill()
        True
        """
        held = self.entry
        done = self._calls.wait_for(self, held, self._calls.hand_over(held, process), timeout)
        entry, reader = done.entries[0], self._calls.reader
        for pause in renewed(reader, entry, timeout):
            time.sleep(pause)
        return latest(reader, entry) if entry.fencing_token else entry

    def published(self, timeout: float | None = None) -> None:
        """Wait until the cluster has this entry as this object last saw it: from then on, every other host that hears
        from the cluster gets it. `timeout` is in seconds, 5 by default.

        Errors: `ClusterUnavailable` where the bridge of this host does not hear from the cluster, and where the entry
        stays on this host: its node belongs to another host, or it is too large for etcd; `Timeout`; `ValueError` for a
        timeout that is not from 0 to 1e9.

        >>> registry.register("planner-1").published(timeout=0.1)
        Traceback (most recent call last):
        adsum.errors.ClusterUnavailable: ...
        """
        for pause in published(self._calls.reader, self.entry, timeout):
            time.sleep(pause)

    def _changed(self, entry: Entry, write: Write[Any], timeout: float | None) -> Entry:
        """Send a write about this entry, which it returns, and keep that."""
        self.entry = self._calls.wait_for(self, entry, write, timeout).entries[0]
        return self.entry

    def __enter__(self) -> Registration:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if os.getpid() != self._pid:
            return
        try:
            self.unregister()
        except Stale:
            # Another process holds the id by now: the entry of this registration is gone.
            return
        except AdsumError:
            # The block's own error matters more; the entry goes with its process in any case.
            if error is None:
                raise
