"""The page of internals names every part of the package, and no part that does not exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from adsum._registrar.failpoints import STEPS
from adsum._store.layout import TABLES

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
    engine |= {"host_draft", "known_hosts", "cluster_names", "memory", "reservations"}
    assert {name.removeprefix("_engine.") for name in named(table)} == modules(PACKAGE / "_registrar") | engine
    assert modules(PACKAGE / "_engine") - {"batch"} == engine


def test_every_module_of_the_client_is_in_its_table() -> None:
    """So has the client's."""
    assert named(PARTS.partition("The client:")[2]) == modules(PACKAGE / "_client")


@pytest.mark.parametrize("file", sorted(set(re.findall(r"`(_\w+/\w+\.py)`", PAGE))))
def test_a_file_that_is_named_exists(file: str) -> None:
    """A file that answers a question is there."""
    assert (PACKAGE / file).is_file()


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_table_is_on_the_page() -> None:
    """The list of tables has each table of the registry, and no other."""
    assert named(section("Tables")) == set(TABLES)


def test_every_failpoint_is_on_the_page() -> None:
    """The list of failpoints has each step that the registrar passes, and so does the set in the code."""
    sources = "".join(file.read_text() for file in PACKAGE.rglob("*.py"))
    passed = set(re.findall(r"\b_?failpoint\(\"(\w+)\"\)", sources))
    assert passed == STEPS
    assert set(re.findall(r"`(\w+)`", section("Failpoints"))) == passed


TRIPS = re.findall(r"^```text\n(.*?)^```", PAGE.partition("## Four trips")[2], re.MULTILINE | re.DOTALL)
# A file, and functions or classes of it. Lines that are indented say what happens elsewhere, or go on with a step.
STEP = re.compile(r"^([\w/]+\.py) +(\w+(?:, \w+)*): ", re.MULTILINE)


def steps(trip: str) -> list[tuple[str, list[str]]]:
    """The files of a trip, in order, each with the names that are given of it."""
    return [(file, names.split(", ")) for file, names in STEP.findall(trip)]


def definitions(file: str) -> set[str]:
    """The functions and classes of a file, methods included."""
    tree = ast.parse((PACKAGE / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


@pytest.mark.parametrize("trip", TRIPS)
def test_a_trip_passes_through_few_files(trip: str) -> None:
    """A request passes through at most twelve files, and every file that its trip names is one of its steps."""
    files = [file for file, _ in steps(trip)]
    assert 0 < len(set(files)) <= 12
    assert re.findall(r"[\w/]+\.py", trip) == files
    unread = [line for line in trip.splitlines() if not STEP.match(line) and not line.startswith("  ")]
    assert unread == []


@pytest.mark.parametrize(("file", "names"), [step for trip in TRIPS for step in steps(trip)])
def test_a_step_names_what_is_there(file: str, names: list[str]) -> None:
    """Each function and class of a step is in the file of that step."""
    assert set(names) - definitions(file) == set()


@pytest.mark.parametrize("number", [0, 1])
def test_a_trip_says_how_many_files_it_has(number: int) -> None:
    """The count in front of a trip is that of its files, and no leaf is one of them."""
    counts = re.findall(r"^\*\*.*?\((\d+) files;", PAGE, re.MULTILINE)
    files = {file for file, _ in steps(TRIPS[number])}
    assert len(files) == int(counts[number])
    leaves = set(re.findall(r"`([\w/]+\.py)`", PAGE.partition("The leaves of both:")[2].partition("**A death**")[0]))
    assert leaves
    assert not leaves & files
    assert [leaf for leaf in leaves if not (PACKAGE / leaf).is_file()] == []
