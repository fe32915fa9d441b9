"""The page of internals names every part of the package, and no part that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "adsum"
PAGE = (ROOT / "docs" / "internals.md").read_text()
PARTS = PAGE.partition("## The parts")[2].partition("## ")[0]


def modules(folder: Path) -> set[str]:
    """The names of a package's modules and packages."""
    files = {file.stem for file in folder.glob("*.py") if not file.stem.startswith("__")}
    return files | {file.parent.name for file in folder.glob("*/__init__.py")}


def named(table: str) -> set[str]:
    """The names in the first column of a table."""
    rows = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([\w.]+)`", row)}


def test_every_part_of_the_package_is_in_the_table() -> None:
    """The table of parts has each module and package of `adsum`, and the demo."""
    table = PARTS.partition("The registrar:")[0]
    assert named(table) == {*modules(PACKAGE), "adsum_demo"}


def test_every_module_of_the_registrar_is_in_its_table() -> None:
    """So has the registrar's table, with the engine."""
    table = PARTS.partition("The registrar:")[2].partition("The client:")[0]
    engine = {"engine", "round", "handlers", "draft", "admission", "succession", "heartbeats", "receipts", "counters"}
    engine |= {"many", "updating", "health", "free_rows", "claims", "claimers", "claiming", "dependants"}
    engine |= {"mirroring", "known_hosts", "cluster_names", "memory"}
    assert {name.removeprefix("_engine.") for name in named(table)} == modules(PACKAGE / "_registrar") | engine
    assert modules(PACKAGE / "_engine") - {"batch"} == engine


def test_every_module_of_the_client_is_in_its_table() -> None:
    """So has the client's."""
    assert named(PARTS.partition("The client:")[2]) == modules(PACKAGE / "_client")


@pytest.mark.parametrize("file", sorted(set(re.findall(r"`(_\w+/\w+\.py)`", PAGE))))
def test_a_file_that_is_named_exists(file: str) -> None:
    """A file that answers a question is there."""
    assert (PACKAGE / file).is_file()


TRIPS = re.findall(r"^```text\n(.*?)^```", PAGE.partition("## Four trips")[2], re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("trip", TRIPS)
def test_a_trip_passes_through_few_files(trip: str) -> None:
    """Each step of a trip names a file that exists, and a request passes through at most twelve."""
    files = {"".join(found) for found in re.findall(r"^(?:(\w+)\.py|(_\w+/\w+))", trip, re.MULTILINE)}
    assert all((PACKAGE / f"{file}.py").is_file() for file in files), files
    assert 0 < len(files) <= 12
