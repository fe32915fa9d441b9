"""The wiring of a bridge, and what it does when something fails: all but a wrong configuration is tried again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from .._etcd.client import EtcdClient
from .._etcd.errors import AccessDenied, ClusterChanged, EtcdError, LeaseNotFound, Refused, RevisionWentBack
from .._etcd.records import Put, absent
from ..errors import VersionMismatch
from ..model import Entry
from .etcd_reader import EtcdReader
from .etcd_writer import EtcdWriter
from .forgetter import FORGET_AFTER, Forgetter
from .keys import Keys
from .leaving import last_operations
from .local import LocalRegistry
from .names import HostNames
from .records import LAYOUT_VERSION, decode_number, encode
from .registrar_check import RegistrarCheck, RegistrarSilent
from .tenure import FenceLost, HostTaken, HostTenure

log = logging.getLogger("adsum.bridge")

RETRY_SECONDS = 0.2
TAKEN_SECONDS = 2.0
# After a refusal, which would be repeated.
REFUSED_SECONDS = 1.0


class Bridge:
    """Connects one local registry with a cluster. `trouble` is why it does not publish now, empty where it does."""

    def __init__(
        self,
        etcd: EtcdClient,
        cluster: str,
        local: LocalRegistry,
        host: str,
        ttl: float,
        report: Callable[[], None],
        forget_after: float = FORGET_AFTER,
    ) -> None:
        self._etcd = etcd
        self._local = local
        self._keys = keys = Keys(cluster)
        self._report = report
        self.tenure = HostTenure(etcd, keys, host, local.folder, ttl, lambda: local.epoch)
        self.etcd_writer = EtcdWriter(etcd, keys, local, report)
        self.names = HostNames(etcd, keys, local, self.tenure, lambda: self.trouble)
        self.etcd_reader = EtcdReader(
            etcd,
            keys,
            local,
            host,
            ttl,
            self.tenure.own_key_changed,
            self._show_progress,
            self.names.freed,
            self.etcd_writer.node_freed,
            self._lose_history,
            lambda: self.etcd_writer.witness,
        )
        self._registrar = RegistrarCheck(local, ttl)
        self.forgetter = Forgetter(etcd, keys, self.etcd_reader, self.tenure, forget_after)
        local.on_rebuilt = self._begin_anew
        # The key of the host says for which registry it is.
        local.on_made = lambda: self.tenure.end(FenceLost("the registry here was made"))
        local.on_end = self._ended
        local.on_hand_over = self.names.handed_over
        self.trouble = "it has not reached the cluster yet"
        self._complaint = ""

    async def run(self) -> None:
        """Run until it is cancelled. Errors: `VersionMismatch`; `HostTaken` at the start; `RegistryClosed`."""
        await self._require_layout()
        try:
            await self._all(self._local.follow(), self._again(self.etcd_reader.run), self._hold())
        finally:
            await self.names.close()

    async def _all(self, *parts: Coroutine[Any, Any, None]) -> None:
        """Run these together until one of them fails."""
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _again(self, part: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            try:
                await part()
            except EtcdError as error:
                self._complain(error)
                self._begin_anew_after(error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _require_layout(self) -> None:
        """Errors: `VersionMismatch` where the keys of the cluster are of another version of adsum."""
        version = encode(LAYOUT_VERSION)
        while True:
            try:
                page = await self._etcd.range(self._keys.version)
                if not page.items:
                    await self._etcd.transaction([absent(self._keys.version)], [Put(self._keys.version, version)])
                    continue
            except AccessDenied as error:
                # Roles may leave it to another user to write the key.
                self._complain(error)
                return
            except EtcdError as error:
                self._complain(error)
                self._begin_anew_after(error)
                self._say(str(error))
                await asyncio.sleep(RETRY_SECONDS)
                continue
            found = decode_number(page.items[0].value)
            if found != LAYOUT_VERSION:
                raise VersionMismatch(
                    f"the keys of this cluster have layout {found}, and this adsum knows {LAYOUT_VERSION}; upgrade "
                    "adsum on this host, or use another name for the cluster"
                )
            return

    async def _hold(self) -> None:
        """Hold the host's key and publish under it, for ever."""
        while True:
            try:
                await self._registrar.require_answer()
                if self.tenure.number:
                    # The etcd may be another one, or may have started empty.
                    await self._require_layout()
                await self.tenure.establish()
                log.info("host %s has fence %d%s", self.tenure.host, self.tenure.fence, self._how())
                self._complaint = ""
                self._say("")
                await self._all(
                    self.tenure.keep(self._vouch),
                    self.etcd_writer.run(self.tenure),
                    self._hold_names(),
                    self.forgetter.run(),
                    self._registrar.run(),
                )
            except HostTaken as error:
                self._complain(error)
                self._say(str(error))
                await asyncio.sleep(TAKEN_SECONDS)
            except RegistrarSilent as error:
                self._complain(error)
                # First, or a holder of a name here would rely on a lease that is given up.
                self._local.show(vouched=0)
                await self.tenure.give_up()
                self._say(str(error))
            except (FenceLost, LeaseNotFound) as error:
                # At once: until it is back, the members here are unreachable for all other hosts.
                log.warning("the tenure has ended: %s", error)
                self._local.show(vouched=0)
                self._say(str(error))
            except EtcdError as error:
                self._complain(error)
                self._begin_anew_after(error)
                self._say(str(error))
                await asyncio.sleep(REFUSED_SECONDS if isinstance(error, Refused) else RETRY_SECONDS)

    async def _hold_names(self) -> None:
        """Bring the names of this host in line with its members, once for each fence."""
        await self.names.reconcile()
        self._vouch(self.tenure.until)
        await asyncio.Event().wait()

    def _ended(self, entry: Entry) -> None:
        """A member of this host has ended."""
        self.names.ended(entry)
        if self.etcd_reader.remote_hosts.is_of_other(entry.process_id.node):
            # The other host may have a member with this id, which was left out.
            self.etcd_reader.load_again()

    # What was read or written is void

    def _begin_anew(self) -> None:
        """The registry here was made anew: it has nothing of other hosts, and etcd has what the one before had."""
        self._lose_history(None)
        self.etcd_reader.load_again()

    def _begin_anew_after(self, error: EtcdError) -> None:
        """Where etcd is another one now, or an older copy of itself: nothing that it said before counts."""
        if isinstance(error, (ClusterChanged, RevisionWentBack)):
            self._etcd.forget_cluster()
            self.etcd_reader.forget_revision()
            self.forgetter.begin_anew()
            self._lose_history(error)

    def _lose_history(self, error: EtcdError | None) -> None:
        """Changes in etcd were missed, perhaps what this host has written too: compare all, under a new fence."""
        self.etcd_writer.note_all()
        self.tenure.end(FenceLost(f"all is to be compared: {error or 'the registry here was made anew'}"))

    def _how(self) -> str:
        return ", with the lease of an earlier bridge" if self.tenure.adopted else ""

    def _show_progress(self) -> None:
        published = self.etcd_writer.published if self.tenure.fence else None
        self._local.show(published=published, applied=self.etcd_reader.revision)

    def _vouch(self, until: int) -> None:
        """The lease surely lasts until then. Holders of names may rely on it as far as the names are theirs still."""
        if until and self.names.is_reconciled:
            self._local.show(vouched=until)

    def _complain(self, error: Exception) -> None:
        """Log an error, once for all the tries that end with it."""
        if str(error) != self._complaint:
            self._complaint = str(error)
            log.warning("%s", error)

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self._report()

    async def leave(self) -> None:
        """Take the host out of the cluster in order: its members have left. Errors: those of etcd."""
        # First, or a holder of a name here would rely on it while another host has it.
        self._local.show(vouched=0)
        try:
            if self.tenure.fence:
                await self._delete_own_keys()
        finally:
            await self.etcd_reader.forget_all()

    async def _delete_own_keys(self) -> None:
        host, tenure = self.tenure.host, self.tenure
        operations = last_operations(self._keys, host, "left", tenure.lease)
        await self._etcd.transaction([tenure.guard()], operations)
        await self._etcd.revoke(tenure.lease)
