"""Whether etcd still has the history that was read and written before: after each break of the watch this is asked.

An etcd that was restored from an older copy may have as many revisions as before by the time that a bridge reaches it
again; then no number distinguishes them. But a copy has a beginning of the history, and all of it. So if it has the
last change that was seen, and the last write of this host that was answered, it has all earlier ones.
"""

from __future__ import annotations

from typing import NamedTuple

from .._etcd.client import EtcdClient
from .._etcd.errors import Compacted, FutureRevision


class Witness(NamedTuple):
    """A key that was put at a revision, with its value then; None where only the revision is known."""

    key: bytes
    revision: int
    value: bytes | None


async def has(etcd: EtcdClient, witness: Witness) -> bool:
    """Whether etcd has this change. Errors: those of etcd."""
    try:
        page = await etcd.range(witness.key, revision=witness.revision)
    except FutureRevision:
        return False
    except Compacted:
        # It is there still where the key has not changed since; otherwise that cannot be known.
        page = await etcd.range(witness.key)
    return any(item.mod_revision == witness.revision and witness.value in (None, item.value) for item in page.items)
