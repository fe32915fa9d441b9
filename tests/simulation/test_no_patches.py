"""The simulation replaces ports by passing others, and patches nothing: it runs the parts as a registrar has them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

FILES = sorted(Path(__file__).parent.glob("*.py"))
PATCHING = {"MonkeyPatch", "monkeypatch", "mock", "setattr", "delattr"}


def patches(source: str) -> list[str]:
    """The lines that replace an attribute of something imported, or use a tool for that."""
    tree = ast.parse(source)
    imported = {
        (alias.asname or alias.name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    found = {
        node.lineno for node in ast.walk(tree) if isinstance(node, ast.expr | ast.arg) and _patches(node, imported)
    }
    found |= {
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        and PATCHING & {part for alias in node.names for part in alias.name.split(".")}
    }
    return [source.splitlines()[line - 1].strip() for line in sorted(found)]


def _patches(node: ast.expr | ast.arg, imported: set[str]) -> bool:
    match node:
        case ast.arg(arg=name) | ast.Name(id=name) | ast.Attribute(attr=name) if name in PATCHING:
            return True
        case ast.Attribute(ctx=ast.Store() | ast.Del()):
            return _root(node) in imported
        case _:
            return False


def _root(node: ast.expr) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_simulation_patches_nothing(file: Path) -> None:
    """No file of it replaces an attribute of a module or a class of adsum."""
    if file != Path(__file__):
        assert patches(file.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "patch.setattr(hosts, 'clock', fake)",
        "hosts.clock = fake",
        "hosts.Words.clock = fake",
        "del hosts.clock",
        "from unittest import mock",
        "import unittest.mock",
        "def test(monkeypatch): ...",
        "pytest.MonkeyPatch.context()",
    ],
)
def test_a_patch_is_found(line: str) -> None:
    """Each way to patch is one that the test above finds."""
    assert patches(f"from adsum._store import hosts\n{line}") == [line]
    assert patches("from adsum._store import hosts\nself.clock = hosts.clock\nlist_of_hosts = hosts.all()") == []
