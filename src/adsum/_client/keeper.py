"""The keeper: it registers the members of this process anew when their registry is gone.

A registry is a folder, and a folder can go while processes live: systemd-logind removes it at the last logout
(RemoveIPC= of logind.conf(5)), a program that tidies up removes it, a user does. Then nothing is left that knows the
members, except each process that registered some.

The keeper waits in a thread for the end of the registrar, which ends when its folder is gone; so it costs nothing
while a registrar serves. While none does, it looks at the folder from time to time. What it compares is the epoch of
the registry in the folder with that of the registry in which it registered.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec

from .. import _wire as wire
from .._foreign import reraise_foreign
from .._os import identity, polling, threads
from .._os.descriptors import Descriptor, Wakeup, note
from .._os.forking import add_fork_aware
from .._os.liveness import is_running
from .._os.locks import locked
from .._store import page as pages
from .._validation import MetadataFields
from ..errors import AdsumError, AlreadyRegistered, DeadProcess, RegistryClosed
from ..model import Entry, ProcessId
from .member_lifetimes import EndCheck, Member

OnLost: TypeAlias = Callable[[list[Entry]], object]

log = logging.getLogger("adsum")

# How often the keeper looks at the folder while no registrar serves, or while an entry could not be registered anew.
LOOK_SECONDS = 0.5
# How often a caller looks whether its entry is back.
RETURN_CHECK_SECONDS = 0.005
# How long `join` waits for the thread, which may be registering.
END_SECONDS = 1.0
# So many entries are kept before the first look for those that have ended.
FEW = 256
# How long one registration may take, including the start of a registrar.
ASK_SECONDS = 5.0
# The time of these is that of the new entry.
_NOT_KEPT = ("created_at", "last_health_check", "gauges")
_DESCRIBING = ("description", "version", "protocols", "doing")


class Holder(Protocol):
    """A `Registration`: it gets the new entry in place of the lost one."""

    entry: Entry


class Writer(Protocol):
    """What the keeper asks of `Calls`."""

    def register_anew(self, lost: Entry, member: Member) -> Entry:
        """Register an entry whose registry is gone, for the same process, and keep the new one."""

    def give_back(self, entry: Entry) -> None:
        """Unregister an entry that no caller wants."""


class KeptEntry(NamedTuple):
    """An entry that this process registered through a `Writer` in the registry of that epoch; the entry of a thread or
    task has a `member`. Both are weak references: to keep an entry keeps nothing alive."""

    entry: Entry
    epoch: int
    member: weakref.ref[Any] | None
    writer: Callable[[], Writer | None]
    # Whether the loss was noticed, and the program lets it be registered anew.
    is_lost: bool = False

    def has_ended(self) -> bool:
        """Whether no process, thread or task is left to register."""
        if self.member is not None:
            member = self.member()
            return member is None or EndCheck(member)()
        owner = self.entry.owner
        return owner.pid != os.getpid() and not is_running(owner)


class Keeper:
    """The entries that this process registered through one client, and the thread that keeps them registered."""

    def __init__(self, folder: Path, on_lost: OnLost | None) -> None:
        self._folder = folder
        self._on_lost = on_lost
        self._closed = False
        self._reset()
        add_fork_aware(self)

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._kept: dict[ProcessId, KeptEntry] = {}
        self._most = FEW
        # The id that is being registered anew, and whether it was dropped meanwhile.
        self._renewing: ProcessId | None = None
        self._is_dropped = False
        self._holders: weakref.WeakSet[Holder] = weakref.WeakSet()
        self._thread: threading.Thread | None = None
        self._wake: Wakeup | None = None
        # A pidfd of the registrar for whose end the thread waits.
        self._registrar: Descriptor | None = None

    def keep(self, kept: KeptEntry) -> None:
        """From now on, register this entry anew when its registry is gone."""
        self._put(kept)
        if len(self._kept) > self._most:
            self._forget_ended()
        if self._thread is None:
            self._start()

    @locked
    def _put(self, kept: KeptEntry) -> None:
        self._kept[kept.entry.process_id] = kept

    def _forget_ended(self) -> None:
        """The kernel and the garbage collector end members unreported. So look at all when their number doubles."""
        for process_id, kept in list(self._kept.items()):
            try:
                if kept.has_ended():
                    self._kept.pop(process_id, None)
            except OSError as error:
                # It cannot be known at the moment.
                reraise_foreign(error)
        self._most = max(FEW, 2 * len(self._kept))

    def saw(self, entry: Entry) -> None:
        """This process has got a newer state of an entry."""
        kept = self._kept.get(entry.process_id)
        if kept is not None and kept.entry.incarnation == entry.incarnation:
            self._replace(kept, KeptEntry(entry, *kept[1:]))

    @locked
    def _replace(self, kept: KeptEntry, by: KeptEntry) -> None:
        """Keep `by` in place of this, unless it was dropped, or another took its place."""
        if self._kept.get(kept.entry.process_id) is kept:
            self._kept[kept.entry.process_id] = by

    @locked
    def drop(self, process_id: ProcessId) -> KeptEntry | None:
        """The entry has ended; returns what was kept of it."""
        if process_id.node == wire.NODE_OF_REGISTRY:
            process_id = self._completed(process_id)
        if process_id == self._renewing:
            self._is_dropped = True
        return self._kept.pop(process_id, None)

    def _completed(self, process_id: ProcessId) -> ProcessId:
        """The id of the kept entry that an id without a node means."""
        for kept in list(self._kept):
            if kept._replace(node=wire.NODE_OF_REGISTRY) == process_id:
                return kept
        return process_id

    def add_holder(self, holder: Holder) -> None:
        """Give this object the new entry in place of its own when that is registered anew."""
        self._holders.add(holder)

    @locked
    def close(self) -> None:
        """End the thread. Entries of processes stay, and are not registered anew any more."""
        self._closed = True
        if self._wake is not None:
            self._wake.ring()

    def await_return(self, holder: Holder, lost: Entry, seconds: float) -> bool:
        """Wait until `holder` has another entry in place of a lost one. False where the entry is not lost, or does not
        come back in time."""
        until = time.monotonic() + seconds
        while holder.entry is lost:
            kept = self._kept.get(lost.process_id)
            if kept is None or time.monotonic() > until:
                return False
            is_there = kept.epoch == pages.epoch_in(self._folder) and self._renewing != lost.process_id
            # In this order: the holder may have got its new entry at this moment.
            if is_there and holder.entry is lost:
                # Another process has removed the entry.
                return False
            self._look_now()
            time.sleep(RETURN_CHECK_SECONDS)
        return holder.entry.incarnation > 0

    def may_return(self, entry: Entry) -> bool:
        """Whether the registry of this entry is gone, so that it will be registered anew, or whether that is under way:
        then its holders get the new entry in a moment."""
        kept = self._kept.get(entry.process_id)
        if kept is None:
            return False
        return kept.epoch != pages.epoch_in(self._folder) or self._renewing == entry.process_id

    @locked
    def _look_now(self) -> None:
        if self._wake is not None:
            self._wake.ring()

    def join(self) -> None:
        """Wait, for a moment at most, until the thread has ended."""
        threads.join(self._thread, END_SECONDS)

    @locked
    def _start(self) -> None:
        if self._thread is not None or self._closed:
            return
        try:
            wake = self._wake or Wakeup()
            # Kept before it starts, because an interrupt of `start` does not stop the thread.
            self._wake, self._thread = wake, threading.Thread(target=self._run, name="adsum-keeper", daemon=True)
            threads.start(self._thread)
        except (AdsumError, OSError) as error:
            # Without a thread or a descriptor, the next registration tries again.
            self._thread = None
            reraise_foreign(error)

    # The thread

    def _run(self) -> None:
        while not self._closed:
            # First, because a folder that goes later ends this registrar.
            self._registrar = self._open_registrar()
            try:
                all_there = self._renew(self._lost())
                self._wait(may_sleep=all_there)
            finally:
                registrar, self._registrar = self._registrar, None
                if registrar is not None:
                    registrar.close()
        self._release()

    @locked
    def _release(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            wake.close()

    def _wait(self, *, may_sleep: bool) -> None:
        """Wait for the end of the registrar, or of this keeper; for a moment only, unless it `may_sleep`."""
        waiting = polling.wait_set()
        wake, registrar = self._opened(), self._registrar
        if wake is not None:
            waiting.register(wake, polling.POLLIN)
        if registrar is not None:
            waiting.register(registrar.number, polling.POLLIN)
        may_sleep = may_sleep and wake is not None and registrar is not None
        try:
            waiting.poll(None if may_sleep else LOOK_SECONDS * 1000)
        except OSError:
            # Without memory the kernel waits for nothing (poll(2)).
            time.sleep(LOOK_SECONDS)
        if wake is not None:
            wake.clear()

    @locked
    def _opened(self) -> Wakeup | None:
        """What ends a wait; another one where the program closed the descriptor; None where none can be opened."""
        if self._wake is None or not self._wake.is_ours():
            try:
                self._wake = Wakeup()
            except OSError:
                self._wake = None
        return self._wake

    def _open_registrar(self) -> Descriptor | None:
        """A pidfd of the registrar that serves; None where none does, or where that cannot be known now."""
        with contextlib.suppress(AdsumError, OSError):
            page = pages.peek(self._folder)
            if page is not None and page.registrar.pid:
                pidfd = identity.open_verified(page.registrar)
                return None if pidfd is None else note(pidfd)
        return None

    def _epoch(self) -> int:
        """That of the registry in the folder, 0 for none. Errors: as `pages.peek`."""
        page = pages.peek(self._folder)
        return 0 if page is None else page.epoch

    def _lost(self) -> list[KeptEntry]:
        """The entries whose registry is not in the folder any more."""
        try:
            epoch = self._epoch()
        except (AdsumError, OSError):
            # It cannot be read at the moment: unknown is not gone.
            return []
        lost = [kept for kept in list(self._kept.values()) if kept.epoch != epoch or not epoch]
        return sorted(lost, key=lambda kept: kept.entry.incarnation)

    def _renew(self, lost: list[KeptEntry]) -> bool:
        """Register lost entries anew. Whether no entry is left to register."""
        if not lost:
            return True
        self._decide([kept for kept in lost if not kept.is_lost])
        for kept in self._lost():
            self._renewing, self._is_dropped = kept.entry.process_id, False
            # It may have been unregistered since the list was made.
            if not self._closed and self._kept.get(kept.entry.process_id) is kept:
                self._renew_one(kept)
        self._renewing = None
        return not self._lost()

    def _decide(self, lost: list[KeptEntry]) -> None:
        """Ask the program, once for each loss, whether its members are to be registered anew."""
        if not lost:
            return
        entries = [kept.entry for kept in lost]
        log.warning("the registry in %s is gone; its members here: %s", self._folder, _named(entries))
        may_renew = self._may_renew(entries)
        for kept in lost:
            if not may_renew:
                self._end(kept)
            else:
                self._replace(kept, kept._replace(is_lost=True))

    def _may_renew(self, entries: list[Entry]) -> bool:
        if self._on_lost is None:
            return True
        try:
            return self._on_lost(entries) is not False
        except BaseException:
            log.exception("on_lost= raised an error; the members of %s are registered anew", self._folder)
            return True

    def _renew_one(self, kept: KeptEntry) -> None:
        writer, member = kept.writer(), None if kept.member is None else kept.member()
        if writer is None or (kept.member is not None and kept.has_ended()):
            # The registry object was dropped, or the thread or task has ended.
            self.drop(kept.entry.process_id)
            return
        try:
            renewed = writer.register_anew(kept.entry, member)
        except RegistryClosed:
            return
        except AlreadyRegistered as error:
            if error.entry.owner == kept.entry.owner:
                # An earlier try was carried out after all, or another thread was quicker.
                self.keep(kept._replace(entry=error.entry, epoch=self._epoch(), is_lost=False))
                self._succeed(kept, error.entry, writer)
            else:
                log.error("%s is not registered any more: %s", kept.entry.process_id, error)
                self._end(kept)
        except DeadProcess as error:
            log.error("%s is not registered any more: %s", kept.entry.process_id, error)
            self._end(kept)
        except AdsumError as error:
            log.warning("%s could not be registered anew yet: %s", kept.entry.process_id, error)
        else:
            self._succeed(kept, renewed, writer)

    def _succeed(self, kept: KeptEntry, renewed: Entry, writer: Writer) -> None:
        if self._is_dropped:
            # Unregistered by this process while it was being registered.
            self._kept.pop(renewed.process_id, None)
            writer.give_back(renewed)
            return
        log.warning("%s is registered anew, as incarnation %d", renewed.process_id, renewed.incarnation)
        self._give(kept.entry, renewed)

    @locked
    def _end(self, kept: KeptEntry) -> None:
        """The entry is lost for good. Its `Registration` must not act on a later holder, whose incarnation may be the
        same number in another registry."""
        if self._kept.get(kept.entry.process_id) is kept:
            self.drop(kept.entry.process_id)
        self._give(kept.entry, msgspec.structs.replace(kept.entry, incarnation=0))

    def _give(self, lost: Entry, renewed: Entry) -> None:
        for holder in list(self._holders):
            if (holder.entry.process_id, holder.entry.incarnation) == (lost.process_id, lost.incarnation):
                holder.entry = renewed

    # fork

    def quiesce(self) -> None:
        """Hold nothing: the thread, which may be registering at this moment, stays in the parent."""

    def after_fork(self, *, child: bool) -> None:
        if child:
            # The entries belong to the parent, and the descriptors are copies of its own.
            copies = self._wake, self._registrar
            self._reset()
            for copy in copies:
                if copy is not None:
                    copy.close()


def fields_of(entry: Entry) -> MetadataFields:
    """The fields with which an entry is registered anew."""
    names = [name for name in MetadataFields.__struct_fields__ if name not in _NOT_KEPT]
    fields = {name: getattr(entry.metadata, name) for name in names}
    # None is the default wherever it is possible; a registrar of a version without `slots` does not know the field.
    # Nor does one of a version without those that describe a member.
    fields = {name: value for name, value in fields.items() if value or not (value is None or name in _DESCRIBING)}
    if entry.metadata.gauges:
        # Nor does one of a version without gauges.
        fields["gauges"] = entry.gauges
    return MetadataFields(**fields)


def _named(entries: list[Entry]) -> str:
    return ", ".join(str(entry.process_id) for entry in entries[:10]) + (", ..." if len(entries) > 10 else "")
