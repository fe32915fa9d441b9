"""`Registry`: a registry of living processes, as one process sees it.

    import adsum

    registry = adsum.open()
    registry.register("planner-1", capabilities={"planning"})
    team = registry.find(capability="planning")

A write goes to the registrar, a small process that is started when it is needed and leaves when it is not. A read goes
to shared memory and asks nobody. This module documents and delegates; what is decided is decided in the registrar.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar, Unpack, overload

from . import _wire as wire
from ._reads import AnyId, Where
from ._store.query import Conditions
from ._watching import Wanted, Watch, until_when
from ._writes import Ask, RegistryWrites, pairs
from .errors import AdsumError, Stale, Timeout
from .model import Entry, Limits, ProcessId

R = TypeVar("R", bound="Registry")
T = TypeVar("T")


class Registry(RegistryWrites):
    """A registry of living processes. Made by `adsum.open`.

    It is a mapping of `ProcessId` to `Entry` over the living members of its `namespace`. Safe for threads. After a
    `fork` the child may go on using it; it opens what it needs again and owns nothing of the parent's. Pickled, it
    opens the same folder wherever it arrives.
    """

    def __enter__(self: R) -> R:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the registry. Entries of processes stay, for they belong to processes; entries of this process's
        threads and tasks that were made through this object end. Closing twice is fine."""
        self._close()

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
        return self._register([(id, metadata)], process, timeout, self._held)[0]

    def register_many(
        self, items: Sequence[tuple[AnyId, dict[str, Any]]], process: Any = None, *, timeout: float | None = None
    ) -> list[Registration]:
        """Register several ids, each with its metadata, for one process: all of them, seen at once, or none.

        Errors: as `register`.
        """
        items = pairs(items)
        if not items:
            return []
        return self._register(items, process, timeout, self._held)

    def register_nowait(
        self, id: AnyId, process: Any = None, *, timeout: float | None = None, **metadata: Any
    ) -> Future[Registration]:
        """`register` without waiting. Mistakes in the arguments are raised at once, all else comes with the future."""
        ask = self._ask_register([(id, metadata)], process)
        return self._send(ask._replace(take=lambda done: Registration(self, ask.take(done).entries[0])), timeout)  # type: ignore[arg-type,return-value]

    def get_or_register(
        self, id: AnyId, process: Any = None, *, timeout: float | None = None, **metadata: Any
    ) -> tuple[Entry, bool]:
        """The living holder of `id` and False, or this registration and True: decided in one step, so of many
        callers exactly one gets True. Errors: as `register`, without `AlreadyRegistered`."""
        return self._register(
            [(id, metadata)], process, timeout, lambda done: (done.entries[0], done.changed), or_get=True
        )

    def update(
        self, id: AnyId, *, if_incarnation: int | None = None, timeout: float | None = None, **metadata: Any
    ) -> Entry:
        """Replace the given metadata fields, each as a whole; indexes follow. Returns the new entry.

        Errors: `NotRegistered`; `Stale` where `if_incarnation` is not the holder's; `InvalidMetadata`; `RegistryFull`
        where the entry grows and there is no room.
        """
        return self._run(self._ask_update(id, metadata, if_incarnation, checked=False), timeout)

    def update_health(
        self, id: AnyId, status: str, *, if_incarnation: int | None = None, timeout: float | None = None
    ) -> Entry:
        """Set the health status and, with it, `last_health_check` to now. Errors: as `update`."""
        return self._run(self._ask_update(id, {"health_status": status}, if_incarnation, checked=True), timeout)

    def unregister(self, id: AnyId, *, if_incarnation: int | None = None, timeout: float | None = None) -> bool:
        """Remove the entry: True if one stood there, False if not. Errors: `Stale`."""
        return self._run(self._ask_unregister(id, if_incarnation), timeout)

    def heartbeat(self, id: AnyId, *, timeout: float | None = None) -> Entry:
        """Give this process's own sign of life for an entry that promises one (``register(..., heartbeat=5.0)``).

        A status that the registrar set because the sign was late goes back to what was said before. Only
        `last_health_check` changes otherwise, which is no change of the registry: it has no revision and no event.
        Errors: `NotRegistered`; `PermissionDenied` where the entry belongs to another process.
        """
        return self._run(self._ask_heartbeat(id, None), timeout)

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
                    raise wanted.too_late(timeout) from None
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
        queued, granted = self._stand_by(id, metadata, lambda done: Registration(self, done.entries[0]), timeout)
        try:
            queued.result()
        except BaseException:
            granted.cancel()
            raise
        if granted.done() and not granted.cancelled():
            # A mistake is told to whoever made it.
            granted.result()
        return granted

    def _register(
        self,
        items: Sequence[tuple[AnyId, dict[str, Any]]],
        process: Any,
        timeout: float | None,
        take: Callable[[wire.Done], T],
        *,
        or_get: bool = False,
    ) -> T:
        ask = self._ask_register(items, process, or_get=or_get)
        _, since = self._client.reader.position()
        try:
            return take(self._run(ask, timeout))
        except AdsumError:
            raise
        except BaseException:
            # Ctrl-C: nobody will ever hold what this registers.
            self._take_back(items, process, since)
            raise

    def _held(self, done: wire.Done) -> list[Registration]:
        return [Registration(self, entry) for entry in done.entries]

    def _run(self, ask: Ask[T], timeout: float | None) -> T:
        if ask.bound:
            return self._send(ask, timeout).result()
        return ask.take(self._client.pool.ask(ask.request, self._seconds(timeout)))


class Registration:
    """An entry that this caller registered, by its incarnation: it never touches a later holder of the same id.

    As a context manager it unregisters at the end of the block, in the process that made it: a forked child that leaves
    the block ends nothing of its parent's.
    """

    def __init__(self, registry: Registry, entry: Entry) -> None:
        self._pid = os.getpid()
        self._registry = registry
        self.entry = entry

    def __repr__(self) -> str:
        return f"<Registration {self.process_id} incarnation={self.entry.incarnation}>"

    @property
    def process_id(self) -> ProcessId:
        """The id that is registered."""
        return self.entry.process_id

    def update(self, *, timeout: float | None = None, **metadata: Any) -> Entry:
        """`Registry.update` of this entry. Errors: also `Stale` where somebody else holds the id by now."""
        incarnation = self.entry.incarnation
        self.entry = self._registry.update(self.process_id, if_incarnation=incarnation, timeout=timeout, **metadata)
        return self.entry

    def update_health(self, status: str, *, timeout: float | None = None) -> Entry:
        """`Registry.update_health` of this entry."""
        incarnation = self.entry.incarnation
        self.entry = self._registry.update_health(self.process_id, status, if_incarnation=incarnation, timeout=timeout)
        return self.entry

    def unregister(self, *, timeout: float | None = None) -> bool:
        """`Registry.unregister` of this entry."""
        return self._registry.unregister(self.process_id, if_incarnation=self.entry.incarnation, timeout=timeout)

    def heartbeat(self, *, timeout: float | None = None) -> Entry:
        """`Registry.heartbeat` of this entry. Errors: also `Stale`."""
        ask = self._registry._ask_heartbeat(self.process_id, self.entry.incarnation)
        self.entry = self._registry._run(ask, timeout)
        return self.entry

    def hand_over(self, process: Any, *, timeout: float | None = None) -> Entry:
        """Give the id to another living process, in one step: nobody ever finds it free, and it has a new incarnation.

        This registration is stale from then on. Errors: `DeadProcess`, `Stale`, `NotRegistered`.
        """
        return self._registry._run(self._registry._ask_hand_over(self.entry, process), timeout)

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
            # Somebody else holds the id by now: what was to be removed is gone already.
            return
        except AdsumError:
            # The block's own error matters more; the entry goes with its process in any case.
            if error is None:
                raise


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
