"""No part of the registrar makes another: `wiring` makes them all."""

from __future__ import annotations

import ast
from pathlib import Path

import adsum

PACKAGE = Path(adsum.__file__).parent
WIRING = PACKAGE / "_registrar" / "wiring.py"


def made_in(file: Path) -> set[str]:
    """The classes that are called in a file, under their names there."""
    calls = [node.func for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    names = [call.id if isinstance(call, ast.Name) else getattr(call, "attr", "") for call in calls]
    return {name for name in names if name[:1].isupper()}


def test_no_part_makes_another() -> None:
    """What `wiring` makes is made in no other module of the registrar and the engine."""
    parts = made_in(WIRING)
    assert {"Engine", "Committer", "LogLines", "DeathWatch", "YieldingWait", "Tenure"} <= parts
    modules = [*PACKAGE.glob("_registrar/*.py"), *PACKAGE.glob("_engine/*.py")]
    made = {file.stem: parts & made_in(file) for file in modules if file != WIRING}
    assert {stem: found for stem, found in made.items() if found} == {}
