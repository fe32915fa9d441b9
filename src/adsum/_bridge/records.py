"""The values in etcd. Arrays, whose fields are only ever appended; a reader ignores fields that it does not know."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import msgspec

from .._os import identity
from ..model import Entry

LAYOUT_VERSION = 1


class HostRecord(msgspec.Struct, frozen=True, array_like=True):
    """A host, as its bridge has written it.

    - `boot`: names the boot of its machine and its PID namespace: processes of another boot have ended.
    - `folder_digest`: names the folder of its registry, so that two registries of one machine are not taken for one
      host.
    - `nonce`: different for each tenure: a fence may repeat where etcd starts empty. `ttl`: that of its lease, in
      seconds.
    - `version`: that of adsum.
    - `epoch`: that of its registry. Entries of another epoch are of a registry that is gone. 0 where there is none yet.
    """

    boot: Annotated[bytes, msgspec.Meta(min_length=1, max_length=64)]
    folder_digest: bytes
    nonce: bytes
    ttl: float
    version: str
    epoch: int = 0


class PublishedEntry(msgspec.Struct, frozen=True, array_like=True):
    """An entry, as the registry of its host has it. `epoch` is that of this registry: one that is made anew gives the
    same revisions again."""

    entry: Entry
    epoch: int


class EndRecord(msgspec.Struct, frozen=True, array_like=True):
    """How the entry with this key ended, as in a `Departure`. An empty key is about all entries of the host.

    One in a transaction that does not change the entry is about an earlier end: the exit of that incarnation has become
    known since. `incarnation` is 0 where it is not known which one ended.
    """

    key: bytes
    how: str
    exit: int | None = None
    incarnation: int = 0


class NameRecord(msgspec.Struct, frozen=True, array_like=True):
    """Who holds a name for the whole cluster. The name is the namespace and the local id of the entry with this key.
    `request` names the request that created it, in the registry of the host."""

    host: str
    key: bytes
    request: bytes = b""


encode = msgspec.msgpack.Encoder().encode
decode_host = msgspec.msgpack.Decoder(HostRecord).decode
decode_published = msgspec.msgpack.Decoder(PublishedEntry).decode
decode_ended = msgspec.msgpack.Decoder(list[EndRecord]).decode
decode_name = msgspec.msgpack.Decoder(NameRecord).decode
decode_number = msgspec.msgpack.Decoder(int).decode


def boot_here() -> bytes:
    """The `HostRecord.boot` of this process."""
    return hashlib.sha256(b"%b %d" % (identity.boot_id(), identity.pid_namespace())).digest()[:16]


def folder_digest(folder: Path) -> bytes:
    """The `HostRecord.folder_digest` of a registry's folder. Two containers may have folders of the same name: the file
    systems differ."""
    path = str(folder).encode(errors="surrogateescape")
    return hashlib.sha256(b"%b %d" % (path, folder.stat().st_dev)).digest()[:16]
