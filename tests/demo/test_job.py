"""The stages that a file passes, and the comparison of results."""

from __future__ import annotations

from pathlib import Path

import pytest

import adsum
from adsum_demo import comparison, job

SOURCE = '''\
"""A module.

With an empty line in its docstring."""
import os.path  # why not
from . import near
from .far.away import one, two as three

# A comment.
class Outer:
    \'\'\'One line.\'\'\'
    text = """

    # no comment
    """

    async def method(self):
        def inner(): "shares its line"

async def task():
    if True:
        import hidden
'''


def kinds(text: str) -> str:
    return job.count(text).kinds


def test_definitions_have_kinds_and_qualified_names() -> None:
    """Classes, functions, async functions and methods are found with their qualified names and lines."""
    assert [(found.kind, found.name, found.line) for found in job.parse(SOURCE).defined] == [
        ("class", "Outer", 9),
        ("method", "Outer.method", 16),
        ("function", "Outer.method.inner", 17),
        ("async function", "task", 19),
    ]


def test_imports_are_found_at_every_level() -> None:
    """Imported names are found with their origin, also relative ones, at module level and inside functions."""
    assert job.parse(SOURCE).imported == [".far.away.one", ".far.away.two", ".near", "hidden", "os.path"]


def test_every_line_has_one_kind() -> None:
    """Lines are code, comment, blank or docstring; an empty line inside a string belongs to the string."""
    assert kinds(SOURCE) == '"""=== #="==== ==' + " ==="


@pytest.mark.parametrize(
    "text",
    [
        'def f():\n    ("in parentheses")\n',
        'def f(): "on the same line"\n',
        'class A:\n    "one" ; x = 1\n',
        'class A:\n    "one" \\\n    "two"\n',
        'class A:\n    f"no {1} docstring"\n',
        "class A:\n    b'bytes'\n",
        'class A:\n    (\n        "alone on its line"\n    )\n',
        '"é" # comment\n',
        "x = 1\\\n  \\\n + 2\n",
        "\f\nif 1:\n\tpass\n",
        "",
        "\n",
        "x = 1",
    ],
)
def test_parser_and_counter_agree(text: str) -> None:
    """On unusual but valid source the syntax tree and the tokens agree."""
    found = job.check("odd.py", job.Text(text, job.digest_of(text)), job.parse(text), job.count(text))
    assert not found.problem
    assert sum(found.lines.values()) == len(text.removesuffix("\n").split("\n")) - (not text)


def test_parser_and_counter_agree_on_real_source() -> None:
    """On every file of adsum itself, parser and counter agree."""
    root = Path(adsum.__file__).parent
    assert all(not job.analyse(root, str(path.relative_to(root))).problem for path in root.rglob("*.py"))


def test_the_declared_encoding_counts(tmp_path: Path) -> None:
    """A file is decoded with the encoding that it declares."""
    (tmp_path / "latin.py").write_bytes("# coding: latin-1\nname = 'é'\n".encode("latin-1"))
    assert "é" in job.read(tmp_path / "latin.py").text


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"x = '\xff'\n", "cannot be read"),
        (b"# coding: no-such-coding\n", "cannot be read"),
        (b"# coding: unicode_escape\nx = '\\ud800'\n", "cannot be read"),
        (b"def def\n", "cannot be parsed"),
        # Python 3.14 refuses it when it detects the encoding.
        (b"x = 1\0\n", "cannot be "),
        (b"if 1:\n  x\n y\n", "cannot be parsed"),
    ],
)
def test_invalid_source_is_a_finding(tmp_path: Path, content: bytes, problem: str) -> None:
    """A file that Python cannot read or compile is reported with its problem, and the job goes on."""
    (tmp_path / "odd.py").write_bytes(content)
    assert job.analyse(tmp_path, "odd.py").problem.startswith(problem)


def test_the_check_finds_a_wrong_count() -> None:
    """The check refuses a line that is counted as the wrong kind."""
    wrong = job.Lines(kinds(SOURCE).replace("#", " "))
    with pytest.raises(job.Inconsistent, match="line 8: counted as blank"):
        job.check("a.py", job.Text(SOURCE, job.digest_of(SOURCE)), job.parse(SOURCE), wrong)


def test_the_check_finds_a_missing_line() -> None:
    """The check refuses a count with a line missing."""
    with pytest.raises(job.Inconsistent, match="were counted"):
        job.check("a.py", job.Text(SOURCE, job.digest_of(SOURCE)), job.parse(SOURCE), job.Lines(kinds(SOURCE)[1:]))


def test_the_check_finds_a_definition_outside_code() -> None:
    """The check refuses a definition on a line that was counted as a docstring."""
    wrong = job.Lines(kinds(SOURCE)[:8] + '"' + kinds(SOURCE)[9:])
    with pytest.raises(job.Inconsistent, match="Outer is not on a line of code"):
        job.check("a.py", job.Text(SOURCE, job.digest_of(SOURCE)), job.parse(SOURCE), wrong)


def test_the_check_finds_another_text() -> None:
    """The check refuses a text that is not the one that was read."""
    with pytest.raises(job.Inconsistent, match="not the one that was read"):
        job.check("a.py", job.Text(SOURCE, job.digest_of("")), job.parse(SOURCE), job.count(SOURCE))


def test_differences_name_file_and_field(tmp_path: Path) -> None:
    """A difference between two results is reported with file, field and both values."""
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b.py").write_text("import x\n")
    a, b = job.analyse(tmp_path, "a.py"), job.analyse(tmp_path, "b.py")
    (tmp_path / "b.py").write_text("import y\n")
    changed = job.analyse(tmp_path, "b.py")
    assert comparison.differences([a, b], [b, a]) == []
    assert comparison.differences([b], [a, b]) == ["a.py: the agents do not report it"]
    assert comparison.differences([a, b], [a]) == ["b.py: only the agents report it"]
    assert "b.py: imported ['y'], should be ['x']" in comparison.differences([a, changed], [a, b])


def test_totals_are_by_package(tmp_path: Path) -> None:
    """The files of a folder are summed up together; a name imported twice is one name."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("top.py", "deep/er/a.py", "deep/er/b.py"):
        (tmp_path / name).write_text("import os\n\n")
    totals = job.total(job.analyse(tmp_path, name) for name in ("top.py", "deep/er/a.py", "deep/er/b.py"))
    assert list(totals) == ["(top)", "deep.er"]
    assert totals["deep.er"] == job.PackageTotals(2, {}, 1, {"blank": 2, "code": 2}, 0)
