"""Receipts of a client that is slow to read: none is dropped before its own reply is in the client's socket."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from adsum import Registry
from adsum import _wire as wire
from adsum._validation import MetadataFields

from ..support import eventually
from .by_hand import Caller, hello, update

# Small requests with large replies: the entry that they change. Together they fill the socket many times.
LARGE = {"text": "x" * 30_000}
UPDATES = 40


def updates(first: int, last: int) -> list[wire.Envelope]:
    return [update(number, "a", MetadataFields(endpoint=f"e:{number}")) for number in range(first, last)]


def introduced(folder: Path, session: bytes) -> Caller:
    caller = Caller(folder)
    caller.send(hello(session=session))
    wire.decode_welcome(caller.frame())
    return caller


def test_a_reply_that_goes_out_late_drops_no_receipt_of_another(registry: Registry, registry_folder: Path) -> None:
    """A client asks the next registrar again, for some requests first. Their replies clog the socket; when the client
    has read them, the receipts of the other requests are still there: each update happens once."""
    registry.register(("default", "by-hand", "a"), custom=LARGE)
    before, session = registry.stats().revision, os.urandom(16)
    with introduced(registry_folder, session) as caller:
        caller.send(*updates(1, UPDATES))
        eventually(lambda: registry.stats().revision == before + UPDATES - 1)
        registrar = registry.stats().registrar_pid
        assert registrar
        os.kill(registrar, signal.SIGKILL)
    registry.register("another")
    with introduced(registry_folder, session) as caller:
        middle = UPDATES // 2
        replies = []
        for first, last in ((1, middle), (middle, UPDATES)):
            caller.send(*updates(first, last))
            replies += [caller.reply() for _ in range(first, last)]
    again = [reply.entries[0].revision for reply in replies if isinstance(reply, wire.Done)]
    assert len(again) == len(replies)
    # The replies of the first batches were in the socket of the first connection: those updates are made anew.
    anew = [revision for revision in again if revision > before + UPDATES]
    assert again[len(anew) :] == list(range(before + 1 + len(anew), before + UPDATES))
