"""`Registry`: the public face of a registry, and `open`.

    import adsum

    registry = adsum.open()
    registry.register("planner-1", capabilities={"planning"})
    team = registry.find(capability="planning")

This module documents and delegates. Reads (`_reads`) go to shared memory and involve no other process. Writes go to
the registrar (`_calls`), which decides.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, TypeVar, Unpack, overload

from . import _instrument
from . import _wire as wire
from ._calls import Calls, pairs
from ._client.connection_pool import seconds
from ._reads import AnyId, RegistryReads, Where
from ._store.query import Conditions
from ._watching import Wanted, Watch, until_when
from .errors import Timeout
from .model import Entry, Limits
from .registration import Registration

R = TypeVar("R", bound="Registry")


class Registry(RegistryReads):
    """A registry of living processes. Made by `adsum.open`.

    It is a mapping of `ProcessId` to `Entry` over the living members of its `namespace`. Safe for threads. After a
    `fork` the child may go on using it; it opens what it needs again and owns nothing of the parent's. Pickled, it
    opens the same folder wherever it arrives.
    """

    def __init__(
        self,
        name: str = "default",
        *,
        path: str | os.PathLike[str] | None = None,
        namespace: str = "default",
        node: str | None = None,
        timeout: float | None = None,
        limits: Limits | None = None,
    ) -> None:
        own_timeout = seconds(timeout)
        super().__init__(name, path=path, namespace=namespace, node=node, limits=limits)
        self._calls = Calls(self._client, self.namespace, self.node, own_timeout)

    @property
    def timeout(self) -> float | None:
        """Seconds for every write that names none; None for the registry's own bound."""
        return self._calls.timeout

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (type(self), str(self.folder), self.namespace, self.node, self.timeout, self.limits)

    def __enter__(self: R) -> R:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the registry. Entries of processes stay, for they belong to processes; entries of this process's
        threads and tasks that were made through this object end. Closing twice is fine."""
        self._close_reads()
        self._calls.close()

    def register(
        self, id: AnyId, process: Any = None, *, timeout: float | None = None, **metadata: Any
    ) -> Registration:
        """Register this process, or `process`, under `id`, for as long as it lives.

        - `process`: a pid, `subprocess.Popen`, `multiprocessing.Process`, `threading.Thread`, `asyncio.Task`, or
          anything with a ``.pid``. An entry for a thread or task ends when that ends: at once for who reads in this
          process, for others as soon as this process has told the registrar.
        - `timeout`: seconds; the registry's ``registration_timeout`` (50 ms) by default, counted from when a registrar
          serves. Past it the request is not applied.
        - `metadata`: the fields of `Metadata`.

        Errors: `AlreadyRegistered` (its ``entry`` is the holder's), `InvalidProcessId`, `InvalidMetadata`,
        `DeadProcess`, `RegistryFull`, `SystemBusy`, `Timeout`.
        """
        write = self._calls.register([(id, metadata)], process)
        return self._calls.register_and_wait(write, timeout, self._registration)

    def register_many(
        self, items: Sequence[tuple[AnyId, dict[str, Any]]], process: Any = None, *, timeout: float | None = None
    ) -> list[Registration]:
        """Register several ids, each with its metadata, for one process: all of them, seen at once, or none.

        Errors: as `register`.
        """
        items = pairs(items)
        if not items:
            return []
        write = self._calls.register(items, process)
        return self._calls.register_and_wait(write, timeout, self._registrations)

    def register_nowait(
        self, id: AnyId, process: Any = None, *, timeout: float | None = None, **metadata: Any
    ) -> Future[Registration]:
        """`register` without waiting. Mistakes in the arguments are raised at once, all else comes with the future."""
        write = self._calls.register([(id, metadata)], process)
        return self._calls.submit(write, timeout, self._registration)

    def get_or_register(
        self, id: AnyId, process: Any = None, *, timeout: float | None = None, **metadata: Any
    ) -> tuple[Entry, bool]:
        """The living holder of `id` and False, or this registration and True: decided in one step, so of many
        callers exactly one gets True. Errors: as `register`, without `AlreadyRegistered`."""
        write = self._calls.register([(id, metadata)], process, or_get=True)
        return self._calls.register_and_wait(write, timeout, _holder)

    def update(
        self, id: AnyId, *, if_incarnation: int | None = None, timeout: float | None = None, **metadata: Any
    ) -> Entry:
        """Replace the given metadata fields, each as a whole; indexes follow. Returns the new entry.

        Errors: `NotRegistered`; `Stale` where `if_incarnation` is not the holder's; `InvalidMetadata`; `RegistryFull`
        where the entry grows and there is no room.
        """
        write = self._calls.update(id, metadata, if_incarnation)
        return self._calls.wait(write, timeout).entries[0]

    def update_health(
        self, id: AnyId, status: str, *, if_incarnation: int | None = None, timeout: float | None = None
    ) -> Entry:
        """Set the health status and, with it, `last_health_check` to now. Errors: as `update`."""
        write = self._calls.update(id, {"health_status": status}, if_incarnation, checked=True)
        return self._calls.wait(write, timeout).entries[0]

    def unregister(self, id: AnyId, *, if_incarnation: int | None = None, timeout: float | None = None) -> bool:
        """Remove the entry: True if one stood there, False if not. Errors: `Stale`."""
        write = self._calls.unregister(id, if_incarnation)
        return self._calls.wait(write, timeout).changed

    def heartbeat(self, id: AnyId, *, timeout: float | None = None) -> Entry:
        """Give this process's own sign of life for an entry that promises one (``register(..., heartbeat=5.0)``).

        A status that the registrar set because the sign was late goes back to what was said before. Only
        `last_health_check` changes otherwise, which is no change of the registry: it has no revision and no event.
        Errors: `NotRegistered`; `PermissionDenied` where the entry belongs to another process.
        """
        write = self._calls.heartbeat(id, None)
        return self._calls.wait(write, timeout).entries[0]

    # Following

    def watch(
        self,
        id: AnyId | None = None,
        *,
        since: int | None = None,
        where: Where | None = None,
        **conditions: Unpack[Conditions],
    ) -> Watch:
        """Follow an id, or what matches the conditions of `find`: one `Event` for each change, in order, none lost.

        - `since`: a revision that a watch or an event told: the events after it; None for those from now on. Where the
          history (the last 8,192 changes, or 8 MiB of them) does not reach back so far, there is one ``lagged`` event.
        - An entry that starts to match through an update is ``registered`` to this watch, one that stops is
          ``unregistered``; either has `previous`.

        Use it in a ``with`` block, or close it. It survives the registrar. Errors: `ValueError` for impossible
        conditions.
        """
        return Watch(self, self._client, self._query(id, conditions), where, since)

    @overload
    def wait_for(self, id: AnyId, timeout: float | None = None) -> Entry: ...
    @overload
    def wait_for(
        self,
        *,
        count: int = 1,
        timeout: float | None = None,
        where: Where | None = None,
        **conditions: Unpack[Conditions],
    ) -> list[Entry]: ...
    def wait_for(
        self,
        id: AnyId | None = None,
        timeout: float | None = None,
        *,
        count: int = 1,
        where: Where | None = None,
        **conditions: Unpack[Conditions],
    ) -> Entry | list[Entry]:
        """Wait until `id` is registered and return its entry; or until `count` living members match, and return all.

        `timeout` is in seconds, None for as long as it takes. Errors: `Timeout`.
        """
        wanted = Wanted(self, id, count, where, conditions)
        until = until_when(timeout)
        if (found := wanted.found()) is not None:
            return found
        with Watch(self, self._client, self._query(id, conditions), where, None) as watch:
            while (found := wanted.found()) is None:
                try:
                    watch.next(max(0.0, until - time.monotonic()))
                except Timeout:
                    raise self._too_late(wanted, timeout) from None
        return found

    def stand_by(self, id: AnyId, *, timeout: float | None = None, **metadata: Any) -> Future[Registration]:
        """Register this process under `id` as soon as it is free: at once if it is, else when its holder is gone.

        Who stands by first gets it first, in the very commit that frees it; who has died by then is skipped. Returns a
        future of the `Registration`; cancelling it gives up the place, and only that: a future that nobody looks at
        still gets the id. Standing by twice takes two places. `timeout` bounds the time until the place is taken, not
        the waiting. The place ends with this process, and when the registry is closed.

        Errors, at once: `AlreadyRegistered` where this very process holds the id, `InvalidProcessId`,
        `InvalidMetadata`, `SystemBusy`, `Timeout`; of the future: `RegistryFull`, `RegistryClosed`.
        """
        call = self._calls.stand_by(id, metadata, timeout, self._registration)
        try:
            call.queued.result()
        except BaseException:
            call.future.cancel()
            raise
        if call.future.done() and not call.future.cancelled():
            # Decided at once: an error in the call is raised here.
            call.future.result()
        return call.future

    def _registration(self, done: wire.Done) -> Registration:
        return Registration(self._calls, done.entries[0])

    def _registrations(self, done: wire.Done) -> list[Registration]:
        return [Registration(self._calls, entry) for entry in done.entries]

    def _too_late(self, wanted: Wanted, timeout: float | None) -> Timeout:
        error = wanted.too_late(timeout)
        if (report := _instrument.wait_timed_out) is not None:
            report(self.folder, wanted.namespace, timeout or 0.0, error)
        return error


def open(
    name: str = "default",
    *,
    path: str | os.PathLike[str] | None = None,
    namespace: str = "default",
    node: str | None = None,
    timeout: float | None = None,
    limits: Limits | None = None,
) -> Registry:
    """Open a registry. There is nothing to start: reading an absent one finds nothing, the first write makes it.

    - `name`: one of this user's registries on this machine: the folder ``<base>/<name>``, where the base is
      ``$ADSUM_DIR``, else ``$XDG_RUNTIME_DIR/adsum``, else ``/dev/shm/adsum-<uid>``.
    - `path`: the registry's folder, instead of a name.
    - `namespace`, `node`: what completes a plain string to a `ProcessId`; the node is ``$ADSUM_NODE`` or the host name.
    - `timeout`: seconds for every write that names none; None for the registry's own ``registration_timeout``.
    - `limits`: `Limits` of the registry, if this is who makes it.

    Errors: `PermissionDenied` for a folder that is not yours alone; `UnsupportedPlatform`; `InvalidProcessId` for an
    impossible namespace or node; `CorruptRegistry`, `WrongNamespace`, `VersionMismatch` for a folder that this process
    cannot use.
    """
    return Registry(name, path=path, namespace=namespace, node=node, timeout=timeout, limits=limits)


def _holder(done: wire.Done) -> tuple[Entry, bool]:
    return done.entries[0], done.changed


def _reopen(
    kind: type[Registry], folder: str, namespace: str, node: str, timeout: float | None, limits: Limits
) -> Registry:
    return kind(path=folder, namespace=namespace, node=node, timeout=timeout, limits=limits)
