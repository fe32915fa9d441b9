"""The reference is made from the docstrings, and names everything public."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import adsum

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_reference_is_what_the_docstrings_say() -> None:
    """After a change of a docstring or signature: ``python docs/reference.py``."""
    done = subprocess.run([sys.executable, DOCS / "reference.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_everything_public_is_in_the_reference() -> None:
    """Each name in ``adsum.__all__`` has a heading on the reference page."""
    named = set(re.findall(r"^#{3} `(\w+)`$", (DOCS / "reference.md").read_text(), re.MULTILINE))
    # `ALL` is a value, which the text explains.
    assert set(adsum.__all__) - named == {"ALL"}
