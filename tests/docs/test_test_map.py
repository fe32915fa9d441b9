"""The map of the tests names every folder, and each folder says what it is for."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
FOLDERS = {folder.name for folder in TESTS.iterdir() if (folder / "__init__.py").exists()}


def test_the_map_names_every_folder() -> None:
    """tests/README.md has a row for each folder of tests, and for no other."""
    section = (TESTS / "README.md").read_text().partition("## The folders")[2].partition("## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == FOLDERS


def test_a_changed_thing_leads_to_folders_that_exist() -> None:
    """The table "you changed X" names only folders of tests."""
    section = (TESTS / "README.md").read_text().partition("## Where a test belongs")[2].partition("## ")[0]
    named = {
        name
        for row in re.findall(r"^\| .+? \| (.+) \|$", section, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert named == FOLDERS - {"support"}


def test_every_folder_says_what_it_is_for() -> None:
    """Each folder's package has a docstring."""
    for name in FOLDERS:
        tree = ast.parse((TESTS / name / "__init__.py").read_text())
        assert ast.get_docstring(tree), name


def test_every_test_says_its_promise() -> None:
    """Each test has a docstring: a sentence that is true of the system."""
    silent = [
        f"{file.relative_to(TESTS)}:{node.lineno}: {node.name}"
        for file in sorted(TESTS.rglob("test_*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert not silent, "\n".join(silent)
