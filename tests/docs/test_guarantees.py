"""The page of guarantees is complete, and points at what exists."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()
PROMISES = {
    f"{letter}{number}" for letter, most in {"I": 6, "S": 7, "L": 6, "P": 6}.items() for number in range(1, most + 1)
}
TESTS = sorted(set(re.findall(r"`(\w+/test_\w+)::(test_\w+)`", PAGE)))
CODE = sorted(set(re.findall(r"`(_\w+\.[\w.]+)`", PAGE)))


def test_every_promise_stands_there_once() -> None:
    """Each promise, I1 to P6, has a section or a row of its own."""
    named = re.findall(
        r"^### ([ISLP]\d) |^\| ([ISLP]\d) \| .+ \| .+ \|$", PAGE.partition("## Figures")[0], re.MULTILINE
    )
    assert sorted(section or row for section, row in named) == sorted(PROMISES)


@pytest.mark.parametrize(("module", "test"), TESTS)
def test_the_tests_named_exist(module: str, test: str) -> None:
    """A test that is said to attack a promise is there."""
    tree = ast.parse((ROOT / "tests" / f"{module}.py").read_text())
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("name", CODE)
def test_the_code_named_exists(name: str) -> None:
    """The code that is said to keep a promise is there, in the class that is named: an inherited name is refused, for
    its code is in another file."""
    found: object = importlib.import_module("adsum")
    path = "adsum"
    for part in name.split("."):
        path = f"{path}.{part}"
        if isinstance(found, type):
            assert part in vars(found), f"{path} is inherited, or is not there"
        found = getattr(found, part, None) or importlib.import_module(path)
