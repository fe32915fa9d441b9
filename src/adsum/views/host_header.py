"""The name in a Host header, by which a client asks for a server: ``name``, ``name:port`` or ``[address]:port``.

Text that merely begins like a name that is known may mean another server to whatever else reads it. So a header counts
only where all of it has this form (RFC 9110, 7.2; RFC 3986, 3.2.2), without user information, paths or spaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_HOST = re.compile(
    r"(?P<name>\[[0-9a-f:.]+(?:%[a-z0-9._~-]+)?\]|[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_-])?)(?P<dot>\.?)(?::[0-9]{1,5})?"
)


def host_name(host: str) -> str | None:
    """The name in a Host header, in lower case, without the port and the dot at its end; brackets of IPv6 stay. None
    where the header is malformed.

    >>> from adsum.views.host_header import host_name
    >>> host_name("Agents.Example:8470"), host_name("[::1]:8470"), host_name("user@agents.example")
    ('agents.example', '[::1]', None)
    """
    found = _HOST.fullmatch(host.lower())
    if found is None or (found["dot"] and found["name"].startswith("[")):
        return None
    return found["name"]


def is_of_host(origin: str, names: frozenset[str]) -> bool:
    """Whether an Origin header is ``http://HOST`` with one of these names, with any port.

    >>> from adsum.views.host_header import is_of_host
    >>> is_of_host("http://localhost:8470", frozenset({"localhost"}))
    True
    """
    scheme, _, host = origin.lower().partition("://")
    return scheme == "http" and host_name(host) in names


def known_hosts(names: Iterable[str]) -> frozenset[str]:
    """Names of hosts as `host_name` gives them; IPv6 addresses get their brackets. Errors: `ValueError` for what is no
    name of a host.

    >>> from adsum.views.host_header import known_hosts
    >>> sorted(known_hosts(["Agents.Example", "::1"]))
    ['[::1]', 'agents.example']
    """
    return frozenset(map(_known_host, names))


def _known_host(text: str) -> str:
    name = host_name(f"[{text}]" if text.count(":") > 1 and text[0] != "[" else text)
    if name is None:
        raise ValueError(
            f"{text!r} is no name of a host; give the name or the address by which browsers ask for this server, such "
            "as agents.example: no URL, no path and no pattern"
        )
    return name
