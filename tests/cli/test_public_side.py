"""The command line and the web pages are built from the public side of adsum."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Modules without an underscore whose names are offered by `adsum` itself.
IMPLEMENTATION = {
    "aio",
    "claim",
    "claim_record",
    "freezing",
    "live_entries",
    "member_gauges",
    "opening",
    "registration",
    "registrations",
    "registry",
}


def test_the_contract_names_every_internal_module() -> None:
    """The import contract of the command line and the web pages forbids every internal module of adsum."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (contract,) = [one for one in settings["tool"]["importlinter"]["contracts"] if one["id"] == "public-side"]
    names = {path.stem for path in (ROOT / "src" / "adsum").iterdir() if path.suffix == ".py" or path.is_dir()}
    internal = {name for name in names if name.startswith("_") and not name.startswith("__")} | IMPLEMENTATION
    assert set(contract["forbidden_modules"]) == {f"adsum.{name}" for name in internal}
