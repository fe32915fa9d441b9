"""Mirroring: the entries of other hosts become rows of this registry, as the bridge hears of them.

They are rows like all others, so one snapshot and one search have both. Their owner represents the host: no process of
this machine decides over them. What a host says of a registration counts only under its own boot; a host that comes
back with another boot id proves that all of its earlier processes have ended.

A host whose entries do not fit is left out as a whole: half of a host would be a wrong answer to every search.
"""

from __future__ import annotations

import msgspec

from .. import _wire as wire
from .._store.layout import HostRow, HostState, Record
from .._validation import MetadataFields, check_fields, id_key
from ..errors import AdsumError, RegistryFull
from ..model import Entry, Kind, Limits, Origin
from .admission import Admission
from .draft import Draft
from .known_hosts import KnownHosts, free_number

# How the entries of a host end, and what a watch calls it.
_KINDS = {"died": Kind.died, "replaced": Kind.died}


class Mirroring:
    """The hosts as one batch has left them so far. `changed` are those that it has changed, None for one that is gone;
    `refusals` are the reasons why something was left out."""

    def __init__(self, limits: Limits, draft: Draft, admission: Admission, known: KnownHosts) -> None:
        self._limits = limits
        self._draft = draft
        self._admission = admission
        self._known = known
        self.changed: dict[str, HostRow | None] = {}
        self.refusals: list[str] = []
        self._entries = known.entries

    def carry_out(self, request: wire.Mirror) -> bool:
        """Apply what the bridge heard. Whether anything has changed."""
        before = len(self._draft.changes), len(self.changed)
        for host in request.hosts:
            self._lose(host)
        for change in request.changes:
            self._apply(change)
        for host in request.hosts:
            if host.state in ("here", "returning"):
                self._gain(host)
        return before != (len(self._draft.changes), len(self.changed))

    # Hosts

    def _row(self, host: str) -> HostRow | None:
        return self.changed[host] if host in self.changed else self._known.rows.get(host)

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
            # Its machine has started anew, or its PID namespace was made anew.
            self._clear(row, "died")
            row = self._put(row, boot_id=host.boot_id)
        if host.state == "unreachable" and row.state is HostState.here:
            self._put(row, state=HostState.unreachable)
            self._draft.note_host(Kind.unreachable, row.host)

    def _begin(self, host: wire.RemoteHost) -> None:
        rows = {**self._known.rows, **self.changed}
        try:
            number = free_number(row.number for row in rows.values() if row is not None)
        except RegistryFull as error:
            self.refusals.append(f"the host {host.host} is left out: {error}")
            return
        self.changed[host.host] = HostRow(
            host.host, number, host.boot_id, host.fence, HostState.unreachable, host.nodes
        )

    def _gain(self, host: wire.RemoteHost) -> None:
        """The part that comes after those of its entries."""
        row = self._row(host.host)
        if row is None:
            return
        if row.state is HostState.refused:
            if host.fence == row.fence:
                return
            row = self._put(row, state=HostState.unreachable)
        has_returned = row.fence != host.fence and row.fence != 0 and row.state is HostState.unreachable
        row = self._put(row, boot_id=host.boot_id, fence=host.fence, nodes=host.nodes)
        if has_returned:
            self._draft.note_host(Kind.returned, row.host)
        if host.state == "here" and row.state is not HostState.here:
            self._put(row, state=HostState.here)
            self._draft.note_host(Kind.whole, row.host)

    def _put(self, row: HostRow, **fields: object) -> HostRow:
        changed = msgspec.structs.replace(row, **fields)
        if changed != row:
            self.changed[row.host] = changed
        return changed

    def _clear(self, row: HostRow, how: str) -> None:
        for record in self._draft.owned(row.owner):
            self._remove(record, how)

    def _refuse(self, row: HostRow, reason: object) -> None:
        """Leave a host out, until its bridge begins anew."""
        self.refusals.append(f"the host {row.host} is left out: {reason}")
        if row.state is HostState.here:
            self._draft.note_host(Kind.unreachable, row.host)
        self._clear(row, "unreachable_forgotten")
        self._put(row, state=HostState.refused)

    # Entries

    def _apply(self, change: wire.RemoteChange) -> None:
        row = self._row(change.host)
        if row is None or row.state is HostState.refused:
            return
        key = id_key(change.process_id)
        present = self._draft.record(key)
        own = present if present is not None and _host_of(present) == change.host else None
        if change.entry is None:
            if own is not None:
                self._remove(own, change.how, change.exit)
        elif present is not None and own is None:
            self.refusals.append(f"{change.process_id} of the host {change.host} is left out: the id is held elsewhere")
        else:
            self._set(row, key, own, change.entry, change.epoch)

    def _set(self, row: HostRow, key: bytes, before: Record | None, remote: Entry, epoch: int) -> None:
        origin = Origin(row.host, row.number, remote.incarnation, remote.revision, epoch)
        if before is not None:
            known = before.entry.origin
            if known == origin:
                return
            if known is not None and (known.epoch, known.incarnation) != (epoch, origin.incarnation):
                # Its end was missed.
                self._remove(before, "replaced")
                before = None
        try:
            _check(remote)
            if before is None and self._entries >= self._limits.max_remote_entries:
                raise RegistryFull(f"max_remote_entries is {self._limits.max_remote_entries}")
            self._admission.require_room_for_remote(key, remote, None if before is None else before.entry)
        except RegistryFull as error:
            self._refuse(row, error)
            return
        except (AdsumError, msgspec.ValidationError) as error:
            self.refusals.append(f"{remote.process_id} of the host {row.host} is left out: {error}")
            if before is not None:
                self._remove(before, "unregistered")
            return
        self._entries += before is None
        self._draft.mirror(key, before, remote, origin)

    def _remove(self, record: Record, how: str, exit: int | None = None) -> None:
        self._entries -= 1
        self._draft.remove(record, _KINDS.get(how, Kind.unregistered), how, 0.0, exit)


def _host_of(record: Record) -> str | None:
    return None if record.entry.origin is None else record.entry.origin.host


def _check(entry: Entry) -> None:
    """Errors: those of a registration with this metadata."""
    metadata = entry.metadata
    check_fields(
        msgspec.convert({name: getattr(metadata, name) for name in metadata.__struct_fields__}, MetadataFields)
    )
