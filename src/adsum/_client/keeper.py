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
import select
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec

from .._os import identity
from .._os.forking import add_fork_aware
from .._store import page as pages
from .._validation import MetadataFields
from ..errors import AdsumError, AlreadyRegistered, DeadProcess, RegistryClosed
from ..model import Entry, Metadata, ProcessId
from .member_lifetimes import Member

OnLost: TypeAlias = Callable[[list[Entry]], object]

log = logging.getLogger("adsum")

# How often the keeper looks at the folder while no registrar serves.
LOOK_SECONDS = 0.5
# So many entries are kept before the first look for those that have ended.
FEW = 256
# How long one registration may take, including the start of a registrar.
ASK_SECONDS = 5.0
# The time of these is that of the new entry.
_NOT_KEPT = ("created_at", "last_health_check")


class Holder(Protocol):
    """A `Registration`: it gets the new entry in place of the lost one."""

    entry: Entry


class Writer(Protocol):
    """What the keeper asks of `Calls`."""

    def register_anew(self, lost: Entry, member: Member) -> Entry:
        """Register an entry whose registry is gone, for the same process, and keep the new one."""

    def give_back(self, entry: Entry) -> None:
        """Unregister an entry that no caller wants."""


class Kept(NamedTuple):
    """An entry that this process registered through a `Writer` in the registry of that epoch; the entry of a thread or
    task has a `member`. Both are weak references: to keep an entry keeps nothing alive."""

    entry: Entry
    epoch: int
    member: weakref.ref[Any] | None
    writer: Callable[[], Writer | None]

    def has_ended(self) -> bool:
        """Whether no process, thread or task is left to register."""
        if self.member is not None:
            return self.member() is None
        owner = self.entry.owner
        return owner.pid != os.getpid() and not identity.is_alive(owner)


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
        self._kept: dict[ProcessId, Kept] = {}
        self._most = FEW
        # The ids dropped since the last renewal began.
        self._dropped: set[ProcessId] = set()
        self._holders: weakref.WeakSet[Holder] = weakref.WeakSet()
        self._thread: threading.Thread | None = None
        self._wake = -1
        self._registrar = -1

    def keep(self, kept: Kept) -> None:
        """From now on, register this entry anew when its registry is gone."""
        self._kept[kept.entry.process_id] = kept
        if len(self._kept) > self._most:
            self._forget_ended()
        if self._thread is None:
            self._start()

    def _forget_ended(self) -> None:
        """The kernel and the garbage collector end members without a word. So look at all when their number doubles."""
        with contextlib.suppress(OSError):
            for process_id, kept in list(self._kept.items()):
                if kept.has_ended():
                    self._kept.pop(process_id, None)
        self._most = max(FEW, 2 * len(self._kept))

    def saw(self, entry: Entry) -> None:
        """This process has got a newer state of an entry."""
        kept = self._kept.get(entry.process_id)
        if kept is not None and kept.entry.incarnation == entry.incarnation:
            self._kept[entry.process_id] = kept._replace(entry=entry)

    def drop(self, process_id: ProcessId) -> None:
        """The entry has ended, or belongs to another process."""
        self._kept.pop(process_id, None)
        self._dropped.add(process_id)

    def add_holder(self, holder: Holder) -> None:
        """Give this object the new entry in place of its own when that is registered anew."""
        self._holders.add(holder)

    def close(self) -> None:
        """End the thread. Entries of processes stay, and are not registered anew any more."""
        with self._lock:
            self._closed = True
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None or self._closed:
                return
            # Without a thread or a descriptor, the next registration tries again.
            with contextlib.suppress(RuntimeError, OSError):
                self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
                thread = threading.Thread(target=self._run, name="adsum-keeper", daemon=True)
                self._thread = thread
                thread.start()

    # The thread

    def _run(self) -> None:
        try:
            while not self._closed:
                self._watch_registrar()
                # After the registrar is watched: a folder that goes later ends that registrar.
                if lost := self._lost():
                    self._renew(lost)
                self._wait()
        finally:
            with self._lock:
                self._release()

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if self._registrar >= 0:
            poll.register(self._registrar, select.POLLIN)
        poll.poll(None if self._registrar >= 0 else LOOK_SECONDS * 1000)

    def _watch_registrar(self) -> None:
        if self._registrar >= 0:
            os.close(self._registrar)
            self._registrar = -1
        with contextlib.suppress(AdsumError, OSError):
            page = pages.peek(self._folder)
            if page is not None and page.registrar.pid:
                self._registrar = identity.open_verified(page.registrar) or -1

    def _lost(self) -> list[Kept]:
        """The entries whose registry is not in the folder any more."""
        try:
            page = pages.peek(self._folder)
        except (AdsumError, OSError):
            # It cannot be read at the moment: unknown is not gone.
            return []
        epoch = 0 if page is None else page.epoch
        lost = [kept for kept in list(self._kept.values()) if kept.epoch != epoch or not epoch]
        return sorted(lost, key=lambda kept: kept.entry.incarnation)

    def _renew(self, lost: list[Kept]) -> None:
        entries = [kept.entry for kept in lost]
        log.warning("the registry in %s is gone; its members here: %s", self._folder, _named(entries))
        if not self._may_renew(entries):
            for kept in lost:
                self._end(kept)
            return
        for kept in lost:
            self._dropped.clear()
            # It may have been unregistered since the list was made.
            if not self._closed and self._kept.get(kept.entry.process_id) is kept:
                self._renew_one(kept)

    def _may_renew(self, entries: list[Entry]) -> bool:
        if self._on_lost is None:
            return True
        try:
            return self._on_lost(entries) is not False
        except Exception:
            log.exception("on_lost= raised an error; the members of %s are registered anew", self._folder)
            return True

    def _renew_one(self, kept: Kept) -> None:
        writer, member = kept.writer(), None if kept.member is None else kept.member()
        if writer is None or (member is None) != (kept.member is None):
            # The registry object was dropped, or the thread or task has ended.
            return
        try:
            renewed = writer.register_anew(kept.entry, member)
        except RegistryClosed:
            return
        except AlreadyRegistered as error:
            if error.entry.owner == kept.entry.owner:
                # An earlier try was carried out after all, or another thread was quicker.
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

    def _succeed(self, kept: Kept, renewed: Entry, writer: Writer) -> None:
        if renewed.process_id in self._dropped:
            # Unregistered by this process while it was being registered.
            self._kept.pop(renewed.process_id, None)
            writer.give_back(renewed)
            return
        log.warning("%s is registered anew, as incarnation %d", renewed.process_id, renewed.incarnation)
        self._give(kept.entry, renewed)

    def _end(self, kept: Kept) -> None:
        """The entry is lost for good. Its `Registration` must not act on a later holder, whose incarnation may be the
        same number in another registry."""
        if self._kept.get(kept.entry.process_id) is kept:
            self.drop(kept.entry.process_id)
        self._give(kept.entry, msgspec.structs.replace(kept.entry, incarnation=0))

    def _give(self, lost: Entry, renewed: Entry) -> None:
        for holder in list(self._holders):
            if (holder.entry.process_id, holder.entry.incarnation) == (lost.process_id, lost.incarnation):
                holder.entry = renewed

    def _release(self) -> None:
        wake, registrar, self._wake, self._registrar = self._wake, self._registrar, -1, -1
        for descriptor in (wake, registrar):
            if descriptor >= 0:
                os.close(descriptor)

    # fork

    def quiesce(self) -> None:
        """Hold nothing: the thread, which may be registering at this moment, stays in the parent."""

    def at_exit(self) -> None:
        self._closed = True

    def after_fork(self, *, child: bool) -> None:
        if child:
            # The entries belong to the parent, and the descriptors are copies of its own.
            self._release()
            self._reset()


def fields_of(metadata: Metadata) -> MetadataFields:
    """The fields with which an entry of this metadata is registered anew."""
    names = [name for name in MetadataFields.__struct_fields__ if name not in _NOT_KEPT]
    return MetadataFields(**{name: getattr(metadata, name) for name in names})


def _named(entries: list[Entry]) -> str:
    return ", ".join(str(entry.process_id) for entry in entries[:10]) + (", ..." if len(entries) > 10 else "")
