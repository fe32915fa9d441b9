"""What a coordinator tells the command, so that there is something to see: frames on its standard output."""

from __future__ import annotations

import os

import msgspec

from .messages import framed
from .view import Row


class StatusUpdate(msgspec.Struct, frozen=True, array_like=True, tag="told"):
    """How things stand. `news` are the events since the last time; counts are this coordinator's own since its start,
    `deaths` are those in the journal."""

    rows: list[Row]
    done: int
    deaths: int
    news: list[str]
    lookups: int
    finds: int
    dead_handed_out: int


class Over(msgspec.Struct, frozen=True, array_like=True, tag="over"):
    """This coordinator is done, or says why it cannot go on."""

    error: str


def send_update(update: StatusUpdate | Over, to: int) -> None:
    data = memoryview(framed(update))
    while data:
        data = data[os.write(to, data) :]
