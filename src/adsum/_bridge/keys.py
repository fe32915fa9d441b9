"""The keys of a cluster in etcd.

All are under one prefix, so one watch and one order of revisions cover them. NUL separates the parts of an id, as in
the tables.

=================================  =================================  ==============  ================================
key, after ``/adsum/CLUSTER/``     value                              lease           written by
=================================  =================================  ==============  ================================
``h/HOST``                         `records.HostRecord`               of the host     its bridge; its ``mod_revision``
                                                                                      is the fence of all its writes
``o/NODE``                         HOST                               of the host     the bridge: a node belongs to one
                                                                                      host at a time
``e/HOST/ns NUL node NUL id``      `records.PublishedEntry`                none            the bridge
``d/HOST``                         `records.EndRecord` of the keys that   of the host     the bridge, or the one that
                                   the same transaction deletes, or                   forgets the host
                                   of earlier ones, with the exit
``w/HOST``                         the fence for which all entries    of the host     the bridge, after each comparison
                                   are written
``n/ns NUL name``                  `records.NameRecord`               of the host     the bridge, for a name of the
                                                                                      whole cluster
``s``                              empty: a change for every watch     none            `Registry.catch_up`, with an
                                                                                      etcd below the floor
``v``                              the version of this layout         none            the first bridge
=================================  =================================  ==============  ================================
"""

from __future__ import annotations

from typing import NamedTuple

from .._client.cluster import is_host_name
from .._validation import id_key
from ..model import ProcessId


def id_of(key: bytes) -> ProcessId:
    """The id in the key of an entry. `ValueError` where it is none, `InvalidProcessId` among them."""
    parts = key.decode().split("\0")
    if len(parts) != 3:
        raise ValueError("its key is no id")
    process_id = ProcessId(*parts)
    id_key(process_id)
    return process_id


class KeyParts(NamedTuple):
    """The parts of a key: its kind, one letter; the host, empty where there is none; and the rest."""

    kind: str
    host: str
    rest: bytes


class Keys:
    """The keys of one cluster."""

    def __init__(self, cluster: str) -> None:
        self.all = f"/adsum/{cluster}/".encode()
        self.version = self.all + b"v"
        self.hosts = self.all + b"h/"
        self.nodes = self.all + b"o/"
        self.names = self.all + b"n/"
        self.wholes = self.all + b"w/"
        self.all_entries = self.all + b"e/"

    def host(self, host: str) -> bytes:
        return self.hosts + host.encode()

    def node(self, node: str) -> bytes:
        return self.nodes + node.encode()

    def entries(self, host: str) -> bytes:
        """The beginning of the keys of a host's entries."""
        return self.all_entries + host.encode() + b"/"

    def entry(self, host: str, key: bytes) -> bytes:
        return self.entries(host) + key

    def ended(self, host: str) -> bytes:
        return self.all + b"d/" + host.encode()

    def whole(self, host: str) -> bytes:
        return self.wholes + host.encode()

    def name(self, namespace: str, name: str) -> bytes:
        return self.names + f"{namespace}\0{name}".encode()

    def split(self, key: bytes) -> KeyParts | None:
        """The parts of a key; None for one that no version of this layout has."""
        kind, slash, rest = key.removeprefix(self.all).partition(b"/")
        if not slash or len(kind) != 1:
            return None
        letter = kind.decode("ascii", "replace")
        if letter == "e":
            name, slash, rest = rest.partition(b"/")
        elif letter in "hdw":
            name, rest = rest, b""
        else:
            return KeyParts(letter, "", rest)
        host = name.decode("ascii", "replace")
        return KeyParts(letter, host, rest) if is_host_name(host) else None
