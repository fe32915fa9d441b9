"""A page of the documentation as a program: its code blocks in order, and the output that it shows.

- A ``python`` block runs; all blocks of a page run in one interpreter. One that begins with ``# name.py`` is a file
  instead, and is written.
- A ``text`` block right after a ``python`` block is what that prints; ``...`` matches any text.
- A block after ``<!-- not run: why -->`` is left alone. So is one after ``<!-- real: needs program -->``, which
  ``make test-real`` runs (tests/real/test_recipes.py).
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import io
import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

_FENCED = re.compile(
    r"^(?:(?P<skip><!-- not run: [^\n]+ -->\n+)|(?P<real><!-- real: [^\n]+ -->\n+))?"
    r"```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_FILE = re.compile(r"# ([\w.]+\.py)\n")
_CHECK = doctest.OutputChecker()
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
    """A fenced block: its first line's number in the page, and the output shown after it, None where none is."""

    language: str
    text: str
    line: int
    output: str | None


def blocks(page: Path, *, real: bool = False) -> Iterator[Block]:
    """The blocks of a page that are to be run; with `real`, also those that need other programs."""
    text = page.read_text()
    found = [fence for fence in _FENCED.finditer(text) if not fence["skip"] and (real or not fence["real"])]
    for fence, after in zip_longest(found, found[1:]):
        follows = after is not None and after["language"] == "text" and not text[fence.end() : after.start()].strip()
        line = text.count("\n", 0, fence.start("text")) + 1
        yield Block(fence["language"], fence["text"], line, after["text"] if after is not None and follows else None)


def is_like(shown: str, real: str) -> bool:
    """Whether what a page shows is what was really printed."""
    return _CHECK.check_output(shown, real, _FLAGS)


def write_files(page: Path, folder: Path = Path(), *, real: bool = False) -> None:
    """Write the files that a page shows into a folder, the current one by default."""
    for block in blocks(page, real=real):
        if block.language == "python" and (file := _FILE.match(block.text)):
            (folder / file[1]).write_text(block.text)


def write_modules(page: Path, folder: Path) -> None:
    """Write a page's Python into modules, for a type checker: one for each file, and one for all else, which has the
    line numbers of the page."""
    name = page.stem.replace("-", "_")
    lines: list[str] = []
    for block in blocks(page):
        if block.language != "python":
            continue
        if file := _FILE.match(block.text):
            (folder / f"file_{name}_{file[1]}").write_text(block.text)
        else:
            lines += [""] * (block.line - 1 - len(lines)) + block.text.splitlines()
    (folder / f"page_{name}.py").write_text("\n".join([*lines, ""]))


def run(page_name: str, *, at_prompt: bool = False) -> None:
    """Run a page's Python. For a fresh interpreter, in an empty folder; what goes wrong names the page's line.

    `at_prompt`: as if it was pasted at Python's prompt, which prints what an expression gives. Then a block that shows
    no output prints nothing.
    """
    page = Path(page_name)
    write_files(page)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language != "python" or _FILE.match(block.text):
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            # Empty lines in front, so that a traceback has the line numbers of the page.
            code = "\n" * (block.line - 1) + block.text
            if at_prompt:
                for statement in ast.parse(code).body:
                    exec(compile(ast.Interactive([statement]), page_name, "single"), names)
            else:
                exec(compile(code, page_name, "exec"), names)
        shown = "" if block.output is None and at_prompt else block.output
        if shown is not None and not is_like(shown, printed.getvalue()):
            raise SystemExit(f"{page_name}:{block.line} prints\n{printed.getvalue()}instead of\n{shown}")
