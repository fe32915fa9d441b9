"""How the keys of a host go, at one revision: it leaves in order, also without its bridge, or another forgets it."""

from __future__ import annotations

from pathlib import Path

from .._etcd.client import EtcdClient
from .._etcd.records import Compare, Delete, Operation, Put, absent, unchanged_since
from .keys import Keys
from .records import EndRecord, boot_here, decode_host, encode, folder_digest
from .tenure import HostTaken

# For as long as the word about the end of a host stays in etcd: watches deliver it at once.
WORD_SECONDS = 10
LEAVE_SECONDS = 5.0


def last_operations(keys: Keys, host: str, how: str, lease: int) -> list[Operation]:
    """Delete all keys of a host, and say how its entries end. That word is on `lease`, and goes with it: nothing else
    would ever delete it."""
    return [
        Put(keys.ended(host), encode([EndRecord(b"", how)]), lease),
        Delete(keys.entries(host), prefix=True),
        Delete(keys.whole(host)),
        Delete(keys.host(host)),
    ]


async def leave_without_bridge(etcd: EtcdClient, keys: Keys, host: str, folder: Path) -> None:
    """Take the host of a registry out of the cluster, whose bridge has ended. Nothing happens where it has left.

    Errors: `HostTaken` where another registry has the name, and nothing is deleted then; those of etcd.
    """
    page = await etcd.range(keys.host(host), timeout=LEAVE_SECONDS)
    old_lease = 0
    guard: Compare = absent(keys.host(host))
    if page.items:
        record = decode_host(page.items[0].value)
        if (record.boot, record.folder_digest) != (boot_here(), folder_digest(folder)):
            raise HostTaken(f"the name {host!r} is held by another host or registry, and nothing of it was deleted")
        guard, old_lease = unchanged_since(keys.host(host), page.items[0].mod_revision), page.items[0].lease
    elif not (await etcd.range(keys.entries(host), prefix=True, count_only=True, timeout=LEAVE_SECONDS)).count:
        return
    lease = (await etcd.grant(WORD_SECONDS, timeout=LEAVE_SECONDS)).id
    await etcd.transaction([guard], last_operations(keys, host, "left", lease), timeout=LEAVE_SECONDS)
    if old_lease:
        await etcd.revoke(old_lease, timeout=LEAVE_SECONDS)
