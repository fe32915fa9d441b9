"""The handshake: which clients the registrar serves, decided once, from `Hello` and the kernel's credentials.

Every later message is taken at its word. It can be, because a client to which the same words mean something else is
refused here: one of another user, one that speaks another protocol, or one in whose PID namespace a pid is another
process.
"""

from __future__ import annotations

import os

from .. import _wire as wire
from .._os import identity
from ..errors import AdsumError, PermissionDenied, VersionMismatch, WrongNamespace


def refusal(hello: wire.Hello, peer_uid: int) -> AdsumError | None:
    """Why this client cannot be served; None when it can."""
    if peer_uid != os.geteuid():
        return PermissionDenied(
            f"this registry belongs to user {os.geteuid()}, not {peer_uid}; use a registry of your own"
        )
    if hello.version < wire.OLDEST:
        return VersionMismatch(
            f"the registrar speaks protocol {wire.VERSION}, this client {hello.version}, which is too old; upgrade "
            "adsum in this environment"
        )
    if hello.pid_namespace != identity.pid_namespace():
        return WrongNamespace(
            "the registrar runs in another PID namespace, where process numbers mean other processes; run in that "
            "namespace, or open a registry of your own"
        )
    return None
