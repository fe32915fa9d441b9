"""What the key of a name says about its holder, and the answers to requests for names."""

from __future__ import annotations

import msgspec

from .. import _wire as wire
from .._etcd.records import KeyValue
from .._store.layout import Standby
from ..errors import AlreadyRegistered
from ..model import Entry
from .keys import id_of
from .records import NameRecord, decode_name

# The id of a holder that cannot be read.
UNREADABLE = b"?\0?\0?"


def request_of(standby: Standby) -> bytes:
    """What names a request, over all registrars and bridges."""
    return standby.session + b":%d" % standby.number


def granted(standby: Standby, token: int) -> wire.NameAnswer:
    return wire.NameAnswer(session=standby.session, stand_by=standby.number, token=token)


def held_by(standby: Standby, holder: NameRecord) -> wire.NameAnswer | None:
    if standby.waits:
        return None
    return wire.NameAnswer(
        session=standby.session,
        stand_by=standby.number,
        reason=AlreadyRegistered.reason,
        holder=id_of(holder.key),
        host=holder.host,
    )


def holder_of(item: KeyValue) -> NameRecord:
    """Who holds a name. What cannot be read was written by a host that may do so, and holds the name all the same."""
    try:
        holder = decode_name(item.value)
        id_of(holder.key)
    except (msgspec.DecodeError, ValueError):
        return NameRecord("", UNREADABLE)
    return holder


def renewal_of(entry: Entry) -> bytes:
    """What the key of an entry names in place of a request once it was written anew."""
    return b"%d" % entry.incarnation
