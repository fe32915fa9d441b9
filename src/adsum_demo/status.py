"""What a coordinator reports to the command: frames on its standard output."""

from __future__ import annotations

import os

import msgspec

from .messages import frame
from .view import Row
from .witness import Staleness


class StatusUpdate(msgspec.Struct, frozen=True, array_like=True, tag="status"):
    """The state of the job. `events` are those since the last update. Counts are this coordinator's own since it
    started, except `deaths`, which counts those in the journal. `staleness` is that of its reads in a cluster."""

    rows: list[Row]
    done: int
    deaths: int
    events: list[str]
    lookups: int
    finds: int
    dead_handed_out: int
    staleness: Staleness = Staleness()


class JobEnd(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    """The job is done, or `error` says why it cannot be finished."""

    error: str


def send_status(status: StatusUpdate | JobEnd, descriptor: int) -> None:
    """Write one frame to a pipe."""
    data = memoryview(frame(status))
    while data:
        data = data[os.write(descriptor, data) :]
