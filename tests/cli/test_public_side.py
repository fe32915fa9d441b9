"""The command line and the web pages are built from the public side of adsum."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs import public

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "adsum"
# What is built of the public side. What such a package offers is public itself, where the reference names it.
BUILT = ("asgi", "cards", "cli", "mcp", "web")
# How the files name a registry: `registry`, `self._registry`, `site.registry`.
IS_REGISTRY = re.compile(r"registry$")


def files_of(package: str) -> list[Path]:
    """The Python files of a package of adsum."""
    return sorted((SOURCE / package).rglob("*.py"))


def imported(file: Path) -> Iterator[tuple[str, str]]:
    """The modules of adsum that a file imports from, by their dotted names, each with the imported name or nothing."""
    package = ("adsum", *file.relative_to(SOURCE).parent.parts)
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join((*above, *(node.module or "").split("."))).strip(".")
            yield from ((module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def outside(package: str) -> set[str]:
    """The modules of adsum outside a package that its files import; ``adsum`` where they import a name of it."""
    found = set()
    for file in files_of(package):
        for module, name in imported(file):
            path = SOURCE.parent / module.replace(".", "/")
            is_module = path.is_dir() and ((path / name).is_dir() or (path / f"{name}.py").is_file())
            full = f"{module}.{name}" if name and is_module else module
            if re.match(r"adsum(\.|$)", full) and not f"{full}.".startswith(f"adsum.{package}."):
                found.add(full)
    return found


def test_the_contract_names_every_module_that_is_not_documented() -> None:
    """The import contract of the command line and the web pages forbids every module of adsum that the reference does
    not name."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (contract,) = [one for one in settings["tool"]["importlinter"]["contracts"] if one["id"] == "public-side"]
    names = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    documented = {name.split(".")[1] for name in public.modules() if name != "adsum"}
    internal = {name for name in names if not name.startswith("__")} - documented - set(BUILT)
    assert contract["source_modules"] == [f"adsum.{package}" for package in BUILT]
    assert set(contract["forbidden_modules"]) == {f"adsum.{name}" for name in internal}


@pytest.mark.parametrize("package", BUILT)
def test_a_package_of_the_public_side_uses_documented_modules(package: str) -> None:
    """Of other packages, too, it imports only the modules that the reference names, and none inside them."""
    assert outside(package) <= set(public.modules())


def test_the_page_of_internals_says_what_the_command_uses() -> None:
    """The row of `cli` names the modules that the command imports, those of the records and errors aside."""
    (row,) = re.findall(r"^\| `cli` \|.*$", (ROOT / "docs" / "internals.md").read_text(), re.MULTILINE)
    named = set(re.findall(r"`(adsum[\w.]*)`", row))
    used = {re.sub(r"^(adsum\.views)\..*", r"\1", module) for module in outside("cli")}
    assert named == used - {"adsum", "adsum.errors", "adsum.model"}


@pytest.mark.parametrize("package", [*BUILT, "views"])
def test_no_private_part_of_a_registry_is_used(package: str) -> None:
    """What is built of the public side, and the views, read no attribute with an underscore of a registry."""
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for file in files_of(package)
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and IS_REGISTRY.search(ast.unparse(node.value))
    ]
    assert not found, "\n".join(found)
