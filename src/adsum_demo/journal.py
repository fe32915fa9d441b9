"""The journal: what the coordinator knows and its successor must not lose.

A line for each thing, in the order in which it came to pass, written before anybody acts on it. A coordinator that is
killed leaves it as it is; whoever takes over reads it and goes on. What was begun and is not in it is begun again.

Only who holds the coordinator's id writes, and nobody holds it before the kernel has said that the last one is dead,
so there is one writer at a time. A killed writer may leave half a line, which says nothing and is cut off.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

import msgspec

from .job import FileReport, PackageTotals


class Began(msgspec.Struct, frozen=True, tag="began"):
    """A coordinator leads from here on, and follows the registry from `revision`."""

    pid: int
    revision: int


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    report: FileReport


class Summed(msgspec.Struct, frozen=True, tag="summed"):
    package: str
    totals: PackageTotals


class Given(msgspec.Struct, frozen=True, tag="given"):
    """A package was given to be summed up; `revision` is that of the entry by which the agent was chosen."""

    package: str
    to: str
    revision: int


class Died(msgspec.Struct, frozen=True, tag="died"):
    """An agent died; `lost` is the piece that it had in hand."""

    name: str
    revision: int
    lost: str


class Stuck(msgspec.Struct, frozen=True, tag="stuck"):
    """The registrar found an agent's signs of life late; `taken_back` is the piece that it had in hand."""

    name: str
    revision: int
    at: datetime
    taken_back: str


class Well(msgspec.Struct, frozen=True, tag="well"):
    """An agent that was stuck gives signs of life again."""

    name: str
    revision: int
    at: datetime


Record: TypeAlias = "Began | Finished | Summed | Given | Died | Stuck | Well"

_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Began | Finished | Summed | Given | Died | Stuck | Well)
_encode = msgspec.json.Encoder().encode


def read(path: Path) -> list[Record]:
    """Every whole line."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return [_decoder.decode(line) for line in data.split(b"\n")[:-1]]


class Journal:
    """The journal, opened to be continued. `records` holds what stood in it already."""

    def __init__(self, path: Path) -> None:
        self.records = read(path)
        self._file = path.open("ab", buffering=0)
        with path.open("rb") as file:
            os.truncate(path, file.read().rfind(b"\n") + 1)

    def write(self, record: Record) -> None:
        line = memoryview(_encode(record) + b"\n")
        while line:
            # What the kernel has got outlives the process.
            line = line[self._file.write(line) :]

    def close(self) -> None:
        self._file.close()


def revision(records: list[Record]) -> int | None:
    """Up to here the registry's changes are in the journal; None where it is empty."""
    return max((record.revision for record in records if isinstance(record, (Began, Died, Stuck, Well))), default=None)
