"""``HOST:PORT``, the address at which a command listens."""

from __future__ import annotations

import re
from typing import NamedTuple

from .options import UsageError

# Brackets separate the colons of an IPv6 address from that of the port (RFC 3986, 3.2.2).
_ADDRESS = re.compile(r"(?:\[(?P<numbers>[^][]+)\]|(?P<host>[^][:]+)):(?P<port>[0-9]{1,5})")


class Address(NamedTuple):
    """A host and a port, as a URL has them."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(option: str, text: str, example: str) -> Address:
    """The address that a user typed after `option`. Errors: `UsageError`, with an example."""
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        port = example.rpartition(":")[2]
        raise UsageError(f"{option} {text}: give HOST:PORT, such as {example} or [::1]:{port}")
    return Address(found["host"] or found["numbers"], int(found["port"]))
