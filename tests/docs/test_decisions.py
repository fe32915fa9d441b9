"""The records of decisions are complete, and what they say of dependencies is true."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "decisions"
RECORDS = sorted(path for path in FOLDER.glob("*.md") if path.name != "index.md")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def test_numbers_have_no_gap() -> None:
    """The records are numbered from 1 on, and none is missing."""
    numbers = [int(record.name[:4]) for record in RECORDS]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_index_lists_every_record() -> None:
    """The index has each record once, in order, with its title."""
    listed = re.findall(r"^- \[(.+)\]\((\S+)\)$", (FOLDER / "index.md").read_text(), re.MULTILINE)
    assert listed == [(record.read_text().partition("\n")[0].removeprefix("# "), record.name) for record in RECORDS]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: str(record.stem))
def test_a_record_is_complete(record: Path) -> None:
    """A record has its number, a date, a status that names an existing record if any, and alternatives."""
    text = record.read_text()
    head = re.match(r"# (\d+)\. \S.*\n\n\*\*Date\*\*: (\S+) · \*\*Status\*\*: (.+)\n", text)
    assert head, "begins with a title and a line of date and status"
    number, day, status = head.groups()
    assert int(number) == int(record.name[:4])
    assert date.fromisoformat(day) <= datetime.now(UTC).date()
    assert re.match(r"accepted|amended: \S|superseded by \[|withdrawn", status), status
    assert all((FOLDER / link).is_file() for link in re.findall(r"\]\(([^)]+)\)", status))
    alternatives = re.search(r"^## Alternatives\n\n(.+?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert alternatives
    assert "**" in alternatives[1], "names at least one"


def _declared() -> dict[str, str]:
    """The distributions that pyproject.toml asks for, each with its extra; without those that are adsum itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    declared = {}
    for extra, requirements in groups.items():
        for requirement in requirements:
            name = NAME.match(requirement)
            assert name, requirement
            if name[0] != "adsum":
                declared[name[0]] = extra
    return declared


def test_every_dependency_has_its_reason() -> None:
    """Record 17 names the distributions of pyproject.toml, each with its extra, and no other."""
    text = (FOLDER / "0017-dependencies.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| (?:`([^`]+)`)? ?\| (\S.*?) \| .*\|$", text, re.MULTILINE)
    assert {name: extra for name, extra, _ in rows} == _declared()
