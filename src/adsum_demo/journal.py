"""The journal: the facts that a coordinator's successor must not lose.

One line for each fact, in order, written before the coordinator acts on it: a write-ahead log. A coordinator that is
killed leaves the journal as it is; its successor reads it and continues. Work that was begun and is not in the journal
is begun again.

Only the holder of the coordinator's id writes. The registry grants the id to a successor only after the kernel has
reported the death of the holder, so there is one writer at a time. A killed writer may leave an incomplete last line,
which the successor cuts off.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

import msgspec

from .job import FileReport, PackageTotals


class TermStart(msgspec.Struct, frozen=True, tag="term start"):
    """From here on the coordinator `pid` leads. It follows the registry from `revision`."""

    pid: int
    revision: int


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


Record: TypeAlias = "TermStart | FileResult | PackageResult | SumAssignment | AgentDeath | StuckStart | StuckEnd"

_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(
    TermStart | FileResult | PackageResult | SumAssignment | AgentDeath | StuckStart | StuckEnd
)
_encode = msgspec.json.Encoder().encode


def read(path: Path) -> list[Record]:
    """The records of every complete line."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return [_decoder.decode(line) for line in data.split(b"\n")[:-1]]


class Journal:
    """The journal, opened to be continued. `records` holds what earlier coordinators wrote."""

    def __init__(self, path: Path) -> None:
        self.records = read(path)
        self._file = path.open("ab", buffering=0)
        with path.open("rb") as file:
            os.truncate(path, file.read().rfind(b"\n") + 1)

    def write(self, record: Record) -> None:
        """Append a record. It is in the kernel when this returns, so it survives the process."""
        line = memoryview(_encode(record) + b"\n")
        while line:
            line = line[self._file.write(line) :]

    def close(self) -> None:
        self._file.close()


def last_revision(records: list[Record]) -> int | None:
    """The revision up to which the registry's changes are in the journal; None where it is empty."""
    followed = (TermStart, AgentDeath, StuckStart, StuckEnd)
    return max((record.revision for record in records if isinstance(record, followed)), default=None)
