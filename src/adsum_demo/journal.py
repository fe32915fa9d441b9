"""The journal: the facts that a coordinator's successor must not lose.

One line for each fact, in order, written before the coordinator acts on it: a write-ahead log. A coordinator that is
killed leaves the journal as it is; its successor reads it and continues. Work that was begun and is not in the journal
is begun again.

Only the holder of the coordinator's id writes. On one machine the registry grants the id to a successor only after the
kernel has reported the death of the holder, so there is one writer at a time. Between hosts it is granted when the
lease of the holder's host has ended, and the holder may still be alive there. So each line begins with the fencing
token of its writer, a writer begins with a line of its own, and a line with a smaller token than an earlier one is
void: the journal itself refuses a late writer. A killed writer may leave an incomplete line, which is void as well.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TypeAlias

import msgspec

from .job import FileReport, PackageTotals


class TermStart(msgspec.Struct, frozen=True, tag="term start"):
    """From here on the coordinator `pid` leads, in a cluster that of `host` with the fencing token `token`. It follows
    the registry from `revision`."""

    pid: int
    revision: int
    host: str = ""
    token: int = 0


class FileResult(msgspec.Struct, frozen=True, tag="file"):
    """A file is done."""

    report: FileReport


class PackageResult(msgspec.Struct, frozen=True, tag="package"):
    """A package is summed up."""

    package: str
    totals: PackageTotals


class SumAssignment(msgspec.Struct, frozen=True, tag="sum assignment"):
    """The agent `to` was given a package to sum up; `revision` is that of the entry by which it was chosen."""

    package: str
    to: str
    revision: int


class AgentDeath(msgspec.Struct, frozen=True, tag="death"):
    """An agent died; `lost` is the piece that it had in hand."""

    name: str
    revision: int
    lost: str


class HostLoss(msgspec.Struct, frozen=True, tag="host lost"):
    """A host became unreachable, with these agents; `lost` are the pieces that they had in hand."""

    host: str
    agents: list[str]
    lost: list[str]


class StuckStart(msgspec.Struct, frozen=True, tag="stuck"):
    """The registrar marked an agent late; `taken_back` is the piece that it had in hand."""

    name: str
    revision: int
    at: datetime
    taken_back: str


class StuckEnd(msgspec.Struct, frozen=True, tag="recovered"):
    """An agent that was stuck sends heartbeats again."""

    name: str
    revision: int
    at: datetime


Record: TypeAlias = (
    "TermStart | FileResult | PackageResult | SumAssignment | AgentDeath | HostLoss | StuckStart | StuckEnd"
)

_Line: TypeAlias = "tuple[int, Record | None]"

# The token and the record; no record in the first line of a writer.
_decoder: msgspec.json.Decoder[_Line] = msgspec.json.Decoder(
    tuple[
        int,
        TermStart | FileResult | PackageResult | SumAssignment | AgentDeath | HostLoss | StuckStart | StuckEnd | None,
    ]
)
_encode = msgspec.json.Encoder().encode


def read(path: Path) -> list[Record]:
    """The records of every complete line that is not void."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    records: list[Record] = []
    newest = 0
    for line in data.split(b"\n"):
        try:
            token, record = _decoder.decode(line)
        except msgspec.DecodeError:
            # Its writer was killed, or it is the empty line in front of a writer's first one.
            continue
        if token >= newest:
            newest = token
            if record is not None:
                records.append(record)
    return records


class Journal:
    """The journal, opened to be continued by the writer with this fencing token. `records` holds what earlier
    coordinators wrote: all of it, because what they write later is void."""

    def __init__(self, path: Path, token: int = 0) -> None:
        self._token = token
        self._file = path.open("ab", buffering=0)
        self._append(b"\n" + _encode((token, None)))
        self.records = read(path)

    def write(self, record: Record) -> None:
        """Append a record. It is in the kernel when this returns, so it survives the process."""
        self._append(_encode((self._token, record)))

    def _append(self, data: bytes) -> None:
        line = memoryview(data + b"\n")
        while line:
            line = line[self._file.write(line) :]

    def close(self) -> None:
        self._file.close()


def last_revision(records: list[Record]) -> int | None:
    """The revision up to which the registry's changes are in the journal; None where it is empty."""
    followed = (TermStart, AgentDeath, StuckStart, StuckEnd)
    return max((record.revision for record in records if isinstance(record, followed)), default=None)
