"""The first words on a connection: what comes with the welcome is not lost."""

from __future__ import annotations

import socket
import time

from adsum import _wire as wire
from adsum._client.dial import _shake_hands


def test_what_comes_with_the_welcome_is_kept() -> None:
    """Replies that arrive with the welcome are kept. A session that reconnects may have a grant waiting for it."""
    here, there = socket.socketpair()
    with here, there:
        granted = wire.frame(wire.Done(7, []))
        there.sendall(wire.frame(wire.Welcome(wire.VERSION, 0.05)) + granted + granted)
        connection = _shake_hands(here, b"s" * 16, time.monotonic() + 10)
        assert connection.registration_timeout == 0.05
        assert [wire.decode_reply(frame) for frame in connection.frames] == [wire.Done(7, [])] * 2
