"""Remote hosts: the entries of other hosts become rows of this registry, as the bridge hears of them.

They are rows like all others, so one snapshot and one search have both. Their owner represents the host: no process of
this machine decides over them. What a host says of a registration counts only under its own boot; a host that comes
back with another boot id proves that all of its earlier processes have ended.

Watches have one event for a host that cannot be reached any more, that can be reached again, and that is whole. What
counts is what readers see: where the bridge hears nothing, they take every other host for unreachable, whatever its row
says. So the events follow from both, the row of a host and whether the bridge hears, and `HostRow.reported` is what
they have said last.

A host whose entries do not fit is left out as a whole: half of a host would be a wrong answer to every search. An entry
that breaks the rules for entries is left out alone, and spoils nothing else that was heard with it.
"""

from __future__ import annotations

from operator import attrgetter

import msgspec

from .. import _wire as wire
from .._store.layout import HostRow, HostState, Record, RemoteRegistration
from .._validation import MAX_SLOTS, check_metadata, id_key
from ..errors import AdsumError, InvalidMetadata, RegistryFull
from ..model import Entry, Kind, Limits, Origin
from .admission import Admission
from .draft import Draft
from .known_hosts import KnownHosts, free_number

# How the entries of a host may end, and what a watch calls it. No other word of another host is taken over.
_KINDS = {
    "died": Kind.died,
    "replaced": Kind.died,
    "unregistered": Kind.unregistered,
    "handed_over": Kind.unregistered,
    "owner_died": Kind.unregistered,
    "name_lost": Kind.unregistered,
    "left": Kind.unregistered,
    "unreachable_forgotten": Kind.unregistered,
    "unknown": Kind.unregistered,
}
# An exit code of a program, or a negative number of a signal.
_EXITS = range(-255, 256)


class HostDraft:
    """The hosts as one batch has left them so far. `changed` are those that it has changed, None for one that is gone;
    `refusals` are the reasons why something was left out; `hears` says whether the bridge hears from the cluster."""

    def __init__(
        self, limits: Limits, draft: Draft, admission: Admission, known: KnownHosts, *, hears: bool = True
    ) -> None:
        self._limits = limits
        self._hears = hears
        self._draft = draft
        self._admission = admission
        self._known = known
        self.changed: dict[str, HostRow | None] = {}
        self.refusals: list[str] = []
        self._entries = known.entries

    def carry_out(self, request: wire.ApplyRemote) -> bool:
        """Apply what the bridge heard. Whether anything has changed."""
        before = len(self._draft.changes), len(self.changed)
        has_amended = False
        for host in request.hosts:
            self._lose(host)
        for change in request.changes:
            self._apply(change)
        for exit in request.exits:
            has_amended |= self._note_exit(exit)
        for host in request.hosts:
            if host.state in ("here", "returning"):
                self._gain(host)
        return has_amended or before != (len(self._draft.changes), len(self.changed))

    def report_all(self) -> None:
        """Report what readers see of the hosts, where it has changed, in the order of their names."""
        changed = [row for row in self._rows() if row.reported is not row.present(hears=self._hears)]
        for row in sorted(changed, key=attrgetter("host")):
            self._report(row)

    # Hosts

    def _report(self, row: HostRow) -> HostRow:
        """Report what readers see of this host from now on, if watches do not know it."""
        reported, present = row.reported, row.present(hears=self._hears)
        if reported is present:
            return row
        if present is HostState.unreachable:
            self._draft.note_host(Kind.unreachable, row.host)
        elif reported is HostState.unreachable and row.is_known:
            # One that was never whole is not missed, so it does not return.
            self._draft.note_host(Kind.returned, row.host)
        is_here = present is HostState.here
        if is_here:
            self._draft.note_host(Kind.whole, row.host)
        return self._put(row, reported=present, is_known=row.is_known or is_here)

    def _row(self, host: str) -> HostRow | None:
        return self.changed[host] if host in self.changed else self._known.rows.get(host)

    def _rows(self) -> list[HostRow]:
        return [row for row in {**self._known.rows, **self.changed}.values() if row is not None]

    def _lose(self, host: wire.RemoteHost) -> None:
        """The part of a change of a host that comes before those of its entries."""
        row = self._row(host.host)
        if host.state == "gone":
            if row is not None:
                self._clear(row, host.how)
                self.changed[host.host] = None
            return
        if row is None:
            self._begin(host)
            return
        if host.boot_id and row.boot_id and host.boot_id != row.boot_id:
            # Its machine has started anew, or its PID namespace was made anew. What its present registry has was heard
            # before the host itself.
            self._clear(row, "died", but_of_epoch=host.epoch)
            row = self._put(row, boot_id=host.boot_id)
        if host.state == "unreachable":
            if row.state in (HostState.here, HostState.returning):
                self._report(self._put(row, state=HostState.unreachable))
        elif host.nodes != row.nodes:
            self._take_nodes(self._put(row, nodes=host.nodes))

    def _begin(self, host: wire.RemoteHost) -> None:
        try:
            number = free_number(row.number for row in self._rows())
        except RegistryFull as error:
            self.refusals.append(f"the host {host.host} is left out: {error}")
            return
        row = HostRow(
            host.host, number, host.boot_id, host.fence, HostState.unreachable, host.nodes, tenure=host.tenure
        )
        self.changed[host.host] = row
        self._take_nodes(row)

    def _take_nodes(self, row: HostRow) -> None:
        """The nodes of this host belong to no other any more."""
        for other in self._rows():
            if other.host != row.host and other.nodes & row.nodes:
                self._put(other, nodes=other.nodes - row.nodes)

    def _gain(self, host: wire.RemoteHost) -> None:
        """The part that comes after those of its entries."""
        row = self._row(host.host)
        if row is None:
            return
        if row.state is HostState.refused:
            if _is_same_tenure(host, row):
                return
            row = self._put(row, state=HostState.unreachable)
        # One that is not known yet is no other than before until it is whole.
        has_returned = row.state is HostState.unreachable and row.is_known
        row = self._put(row, boot_id=host.boot_id, fence=host.fence, nodes=host.nodes, tenure=host.tenure)
        if has_returned:
            row = self._report(self._put(row, state=HostState.returning))
        if host.state == "here" and row.state is not HostState.here:
            self._report(self._put(row, state=HostState.here))

    def _put(self, row: HostRow, **fields: object) -> HostRow:
        changed = msgspec.structs.replace(row, **fields)
        if changed != row:
            self.changed[row.host] = changed
        return changed

    def _clear(self, row: HostRow, how: str, but_of_epoch: int = 0) -> None:
        """End the entries of a host, except those of the registry with this epoch."""
        for record in self._draft.owned(row.owner):
            origin = record.entry.origin
            if not but_of_epoch or origin is None or origin.epoch != but_of_epoch:
                self._remove(record, how)

    def _refuse(self, row: HostRow, reason: object) -> None:
        """Leave a host out, until its bridge begins anew."""
        self.refusals.append(f"the host {row.host} is left out: {reason}")
        self._report(self._put(row, state=HostState.refused))
        self._clear(row, "unreachable_forgotten")

    # Entries

    def _apply(self, change: wire.RemoteChange) -> None:
        row = self._row(change.host)
        if row is None or row.state is HostState.refused:
            return
        try:
            key = id_key(change.process_id)
        except AdsumError as error:
            self.refusals.append(f"an entry of the host {change.host} is left out: {error}")
            return
        present = self._draft.record(key)
        own = present if present is not None and _host_of(present) == change.host else None
        if change.entry is None:
            if own is not None:
                self._remove(own, change.how, change.exit)
            return
        if present is not None and own is None:
            if _host_of(present) is None or change.process_id.node not in row.nodes:
                self.refusals.append(
                    f"{change.process_id} of the host {change.host} is left out: the id is held elsewhere"
                )
                return
            # The node was another host's, which cannot get it back while this one has it.
            self._remove(present, "left")
        self._set(row, key, own, change, change.entry)

    def _set(self, row: HostRow, key: bytes, before: Record | None, change: wire.RemoteChange, remote: Entry) -> None:
        origin = Origin(row.host, row.number, remote.incarnation, remote.revision, change.epoch)
        known = None if before is None else before.entry.origin
        if known == origin:
            return
        is_same = known is not None and (known.epoch, known.incarnation) == (origin.epoch, origin.incarnation)
        if before is not None and not is_same and change.how != "handed_over":
            self._remove(before, change.how, change.exit)
            before = None
        try:
            _check(remote)
            if before is None and self._entries >= self._limits.max_remote_entries:
                raise RegistryFull(f"max_remote_entries is {self._limits.max_remote_entries}")
            self._admission.require_room_for_remote(key, remote, None if before is None else before.entry)
        except RegistryFull as error:
            self._refuse(row, error)
            return
        except AdsumError as error:
            self.refusals.append(f"{remote.process_id} of the host {row.host} is left out: {error}")
            if before is not None:
                self._remove(before, "unknown")
            return
        self._entries += before is None
        if before is None or is_same:
            self._draft.put_remote(key, before, remote, origin)
        else:
            self._draft.hand_over_remote(key, before, remote, origin)

    def _remove(self, record: Record, how: str, exit: int | None = None) -> None:
        self._entries -= 1
        known = how if how in _KINDS else "unknown"
        self._draft.remove(record, _KINDS[known], known, 0.0, exit if exit in _EXITS else None)

    def _note_exit(self, one: wire.RemoteExit) -> bool:
        registration = RemoteRegistration(one.host, one.epoch, one.process_id, one.incarnation)
        return one.code in _EXITS and self._draft.note_remote_exit(registration, one.code)


def _is_same_tenure(host: wire.RemoteHost, row: HostRow) -> bool:
    return (host.fence, host.tenure) == (row.fence, row.tenure)


def _host_of(record: Record) -> str | None:
    return None if record.entry.origin is None else record.entry.origin.host


def _check(entry: Entry) -> None:
    """Errors: those of a registration with this metadata."""
    if len(entry.claims) > MAX_SLOTS:
        raise InvalidMetadata(f"{len(entry.claims)} claims, at most {MAX_SLOTS} are admitted")
    check_metadata(entry.metadata)
