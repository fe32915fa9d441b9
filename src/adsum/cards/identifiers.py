"""The identifiers of cards: names of members as URNs, and back.

AI Catalog 0.9 and ARD identify what is published by ``urn:air:<publisher>:<name>:<kind>`` (RFC 8141), in which a name
has letters, digits, dots, hyphens and underscores alone. A process id is any text. So its parts are joined by dots, and
in them every other byte, dots included, is written as an underscore with two hexadecimal digits; an underscore is
doubled. Different members have different identifiers, and each can be looked up by its own.
"""

from __future__ import annotations

import re

from ..errors import InvalidProcessId
from ..model import ProcessId

# The form that ARD asks for, of which ours is a part.
FORM = re.compile(r"urn:air:[a-zA-Z0-9.-]+(?::[a-zA-Z0-9._-]+)+")
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
_OWN = re.compile(r"urn:air:([a-zA-Z0-9.-]+):([a-zA-Z0-9._-]+):([a-z0-9]+)")
_ESCAPED = re.compile(r"_(?:_|([0-9A-F]{2}))|[a-zA-Z0-9-]+")


def name_of(process_id: tuple[str, ...]) -> str:
    """The name of a member in identifiers, from the parts of its id."""
    return ".".join(map(_escaped, process_id))


def identifier(process_id: ProcessId, kind: str, publisher: str) -> str:
    """The identifier of a member's card of a kind: a2a or mcp.

    >>> adsum.cards.identifier(adsum.ProcessId("default", "host-1", "planner_1"), "a2a", "example.com")
    'urn:air:example.com:default.host-1.planner__1:a2a'
    """
    return f"urn:air:{publisher}:{name_of(process_id)}:{kind}"


def process_id(identifier: str, publisher: str) -> tuple[ProcessId, str] | None:
    """The member and the kind of card that an identifier of this publisher means; None for every other identifier.

    >>> adsum.cards.process_id("urn:air:example.com:default.host-1.planner__1:a2a", "example.com")
    (ProcessId(namespace='default', node='host-1', local_id='planner_1'), 'a2a')
    """
    found = _OWN.fullmatch(identifier)
    if found is None or found[1] != publisher:
        return None
    parts = found[2].split(".")
    try:
        namespace, node, local_id = map(_unescaped, parts)
        return ProcessId(namespace, node, local_id), found[3]
    except (ValueError, InvalidProcessId):
        # Not three parts, or not written by `identifier`.
        return None


def _escaped(part: str) -> str:
    return "".join(
        chr(byte) if byte in _PLAIN else "__" if byte == ord("_") else f"_{byte:02X}" for byte in part.encode()
    )


def _unescaped(text: str) -> str:
    """The text that `_escaped` wrote. Errors: `ValueError`."""
    found, end = bytearray(), 0
    for piece in _ESCAPED.finditer(text):
        if piece.start() != end:
            break
        end = piece.end()
        if piece[0] == "__":
            found += b"_"
        else:
            found += bytes.fromhex(piece[1]) if piece[1] else piece[0].encode()
    part = found.decode()
    if end != len(text) or not part or _escaped(part) != text:
        raise ValueError(text)
    return part
