"""The socket that ``adsum web`` listens on, made before the server, so that an address in use is known at once."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import re
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..options import UsageError

# Brackets separate the colons of an IPv6 address from that of the port (RFC 3986, 3.2.2).
_ADDRESS = re.compile(r"(?:\[(?P<numbers>[^][]+)\]|(?P<host>[^][:]+)):(?P<port>[0-9]{1,5})")
_UNIX = "unix:"


class ListenAddress(NamedTuple):
    """An address to listen on: host and port, or the path of a Unix socket."""

    host: str
    port: int
    path: Path | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"{_UNIX}{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only processes of this machine can reach it."""
        if self.path is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            # Any other name may have an address of the network.
            return False

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return f"http://{self}/" if self.path is None else f"{_UNIX}{self.path}"


def parse_address(text: str) -> ListenAddress:
    """The address in an option. Errors: `UsageError`."""
    if text.startswith(_UNIX):
        path = Path(text.removeprefix(_UNIX))
        if path == Path():
            raise UsageError(
                f"--listen {text}: give the path of the socket, such as unix:/run/user/1000/adsum-web.sock"
            )
        return ListenAddress("", 0, path)
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        raise UsageError(f"--listen {text}: give HOST:PORT, such as 127.0.0.1:8470 or [::1]:8470, or unix:PATH")
    return ListenAddress(found["host"] or found["numbers"], int(found["port"]))


@contextlib.contextmanager
def listening(address: ListenAddress) -> Iterator[tuple[socket.socket, ListenAddress]]:
    """A socket that listens, and its address with the port that it got. A Unix socket is accessible to this user alone,
    and is removed at the end. Errors: `OSError`."""
    if address.path is not None:
        with _listening_at(address.path) as sock:
            yield sock, address
        return
    family, kind, protocol, _, endpoint = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as sock:
        # A port whose last connections are only just closed is not in use.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(endpoint)
        sock.listen(socket.SOMAXCONN)
        yield sock, address._replace(port=sock.getsockname()[1])


@contextlib.contextmanager
def _listening_at(path: Path) -> Iterator[socket.socket]:
    _remove_abandoned(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        before = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        made = path.stat()
        try:
            sock.listen(socket.SOMAXCONN)
            yield sock
        finally:
            # Another server may have put its own there.
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == made.st_ino:
                    path.unlink()


def _remove_abandoned(path: Path) -> None:
    """Remove a socket that no process listens on: its server was killed. Errors: `OSError` where one listens."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "exists, and is no socket", str(path))
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), str(path))
