"""Reports to the service manager that started a bridge: it serves, how it is, it is not stuck.

The protocol is that of sd_notify(3): a datagram to the socket in $NOTIFY_SOCKET.
"""

from __future__ import annotations

import contextlib
import os
import socket


def notify(*lines: str) -> None:
    """Send this to the service manager, if there is one. Without an answer, and without an error: it serves us."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    # A name that begins with @ is in the abstract namespace, where it begins with NUL (unix(7)).
    target = f"\0{address[1:]}" if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.sendto("\n".join(lines).encode(), target)
