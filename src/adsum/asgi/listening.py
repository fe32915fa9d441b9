"""The addresses at which this process listens, from the kernel.

Servers keep their sockets to themselves, each in its own way: in an `asyncio.Server`, in Rust, inherited from a parent.
The kernel knows all of them: a socket that listens says so (SO_ACCEPTCONN, socket(7)) and has a name (getsockname(2)).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

_DESCRIPTORS = Path("/proc/self/fd")
# A client of this machine reaches a socket that is bound to all addresses at the one of the loopback device.
_REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class ListeningSocket(NamedTuple):
    """A socket at which this process listens: its inode, and its address as in a URL, or as ``unix:PATH``."""

    inode: str
    address: str

    def url(self, scheme: str) -> str:
        """Its address as a URL."""
        return self.address if self.address.startswith("unix:") else f"{scheme}://{self.address}"


def bound_endpoint(scheme: str = "http", known: Collection[ListeningSocket] = ()) -> str | None:
    """The URL at which this process listens: that of its first listening socket, TCP before Unix; None where it has
    none. For a Unix socket it is ``unix:PATH``. An address that means all interfaces becomes that of the loopback.

    - `scheme`: that of the URL; give ``"https"`` where the server speaks TLS, which the kernel does not know.
    - `known`: sockets that do not count.

    >>> import socket
    >>> with socket.create_server(("127.0.0.1", 0)) as listener:
    ...     adsum.asgi.bound_endpoint() == f"http://127.0.0.1:{listener.getsockname()[1]}"
    True
    """
    found = [one for one in listening_sockets() if one not in known]
    return min(found, key=lambda one: one.address.startswith("unix:")).url(scheme) if found else None


def listening_sockets() -> list[ListeningSocket]:
    """The listening sockets of this process, in the order of their descriptors."""
    return list(dict.fromkeys(_listening_sockets()))


def _listening_sockets() -> Iterator[ListeningSocket]:
    for descriptor in sorted(int(one.name) for one in _DESCRIPTORS.iterdir()):
        try:
            inode = str((_DESCRIPTORS / str(descriptor)).readlink())
            if inode.startswith("socket:") and (address := _address(descriptor)) is not None:
                yield ListeningSocket(inode, address)
        except OSError:
            # It was closed since it was listed.
            continue


def _address(descriptor: int) -> str | None:
    """The address of a socket that listens; None for every other one."""
    # A copy, which is closed again; the socket itself stays open.
    with closing(socket.socket(fileno=os.dup(descriptor))) as copy:
        if copy.type != socket.SOCK_STREAM or not copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return None
        name = copy.getsockname()
        match copy.family:
            case socket.AF_INET:
                return f"{_REACHED_AT.get(name[0], name[0])}:{name[1]}"
            case socket.AF_INET6:
                return f"[{_REACHED_AT.get(name[0], name[0])}]:{name[1]}"
            case socket.AF_UNIX:
                return f"unix:{os.fsdecode(name)}"
            case _:
                return None
