"""The checker of ARD manifests in Lighthouse, a port of the specification's own conformance tool, finds no error."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from adsum import Registry, cards
from tests.cards.conftest import PLANNER, WEATHER

pytestmark = pytest.mark.real
CHECKER = Path(__file__).resolve().parents[2] / ".venv-real/node/node_modules/lighthouse/third-party/ard/ard.js"
PROGRAM = """
const {ConformanceTester} = await import(process.argv[1]);
const tester = new ConformanceTester();
let text = "";
for await (const part of process.stdin) text += part;
tester.validate_manifest(text, "standard input");
console.log(JSON.stringify([tester.errors, tester.warnings]));
"""


def findings(manifest: bytes) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The errors and the warnings of the checker."""
    if shutil.which("node") is None or not CHECKER.exists():
        pytest.skip("no node, or no Lighthouse: make test-real installs it where npm is there")
    command = ["node", "--input-type=module", "-e", PROGRAM, str(CHECKER)]
    done = subprocess.run(command, input=manifest, capture_output=True, check=True, timeout=60)
    errors, warnings = json.loads(done.stdout)
    return errors, warnings


def test_the_checker_finds_nothing(registry: Registry) -> None:
    """A manifest of members with sample queries has no error and no warning, served or not."""
    skills = [{"id": "rail", "examples": ["plan a trip to Basel", "which train do I take"]}]
    registry.register("planner/1 ä", **PLANNER, custom={"a2a": {"skills": skills}})
    registry.register("weather", **WEATHER, custom={"ard": {"representativeQueries": ["rain in Kiel", "wind in Bern"]}})
    for site in (cards.Site("http://127.0.0.1:8000"), cards.Site(publisher="example.com")):
        assert findings(cards.encode(cards.manifest(registry, site))) == ([], [])


def test_the_checker_is_at_work() -> None:
    """It finds what is wrong."""
    errors, _ = findings(b'{"specVersion": "1.0", "entries": [{"identifier": "weather"}]}')
    assert errors
