"""The help of each command, as the page of the command line shows it. ``python -m tests.docs.command_help`` renews it.

The page holds the text itself, so that it can be read wherever Markdown is shown.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "command-line.md"
SHOWN = re.compile(r"(?<=```console\n)\$ adsum (?P<command>[a-z]+) --help\n(?P<text>.*?)(?=```\n)", re.DOTALL)
_WIDTH = "88"


def help_of(command: str) -> str:
    """What ``adsum COMMAND --help`` prints, without empty lines at its ends and blanks at the ends of lines."""
    environment = {**os.environ, "COLUMNS": _WIDTH, "NO_COLOR": "1", "TERM": "dumb"}
    printed = subprocess.run(
        [sys.executable, "-m", "adsum.cli", command, "--help"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return "".join(f"{line.rstrip()}\n" for line in printed.strip().splitlines())


def _renewed(shown: re.Match[str]) -> str:
    return f"$ adsum {shown['command']} --help\n{help_of(shown['command'])}"


if __name__ == "__main__":
    PAGE.write_text(SHOWN.sub(_renewed, PAGE.read_text()))
