"""Ids of members as parts of an address: ``/members/NAMESPACE/NODE/LOCAL_ID``, and below ``/agents/`` their cards.

A part may contain a slash, or be ``..``, which browsers, proxies and servers take for a step of the path, also where
it is percent-encoded: they decode it before they split. So these characters, and those that a second decoding would
change, are written with a tilde: ``~s`` for a slash, ``~p`` for a percent sign, ``~d`` for a dot of ``..``, ``~~`` for
a tilde.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from ..model import ProcessId

_WRITTEN = {"~": "~~", "/": "~s", "%": "~p", ".": "~d"}
_READ = {written: char for char, written in _WRITTEN.items()}


def member_path(process_id: ProcessId) -> str:
    """The path of a member below that of all members, percent-encoded.

    >>> from adsum.views.paths import member_path
    >>> member_path(adsum.ProcessId("default", "here", "a/b"))
    'default/here/a~sb'
    """
    return "/".join(quote(_escaped(part), safe="~") for part in process_id)


def _escaped(part: str) -> str:
    special = "[~/%.]" if part in (".", "..") else "[~/%]"
    return re.sub(special, lambda found: _WRITTEN[found[0]], part)


def unescaped(part: str) -> str:
    """The part of an id, of a part of a path that the server has decoded.

    >>> from adsum.views.paths import unescaped
    >>> unescaped("a~sb")
    'a/b'
    """
    return re.sub("~[~spd]", lambda found: _READ[found[0]], part)
