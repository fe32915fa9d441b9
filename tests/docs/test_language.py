"""The prose of the project names its subjects: words that hide them are rare, and some phrases do not occur.

Prose is the docstrings and comments of Python files and the text of Markdown pages, without code.
``python -m tests.docs.test_language PATH...`` prints each such word in the files and folders named, by default in all
of `AREAS`, and how often each kind occurs.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]

# What is no prose of the project: environments, caches, and texts of others.
_SKIPPED = {"node_modules", "__pycache__"}


def _areas() -> list[str]:
    """Files, folders, or patterns of files: each folder that has Python files or pages, those with folders of packages
    folder by folder. The bounds hold for each area by itself."""
    top = [path for path in sorted(ROOT.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    folders = [folder for name in ("src/adsum", "tests") for folder in sorted((ROOT / name).iterdir())]
    folders += [path for path in top if path.name not in {"src", "tests"}] + sorted((ROOT / "src").glob("adsum_*"))
    found = [str(path.relative_to(ROOT)) for path in folders if path.is_dir() and path.name not in _SKIPPED]
    patterns = [*(f"{name}/*.{kind}" for name in ("src/adsum", "tests") for kind in ("py", "md")), "*.md", "*.py"]
    return [area for area in (*found, *patterns) if any(files(area))]


def _words(pattern: str) -> re.Pattern[str]:
    """The pattern as whole words, with a line break wherever it has a space."""
    return re.compile(rf"\b(?:{pattern})\b".replace(" ", r"(?: +|\n *)"), re.IGNORECASE)


# Words that replace a subject which has a name: client, owner, caller, member, registrar.
KINDS = {
    "nobody": _words("nobody|somebody|everybody|anybody|no one"),
    "whoever": _words("whoever|whomever"),
    "told": _words("told|tells?"),
    "stands": _words("(?:stands?|stood)(?![ -]by)"),
    "phrase": _words(
        "who lives|what lives|who stands|what stands|who waits|what waits|who asks|what was asked"
        "|(?:at|by|for|from|of|to|with) who|the kernel's word|gives? word|(?:come|comes|came) to rest|in our words"
        "|is there to be asked|is said to be|by itself alone|whose word|in vain|for want of|without a word"
        "|by the word of"
    ),
    # A sentence whose subject is in another sentence, or in a name.
    "those": re.compile(r"\bThose(?: +|\n *)of\b"),
}
# How often a kind may occur in 1,000 words: the level of trio's sources.
BOUNDS = {"nobody": 0.05, "whoever": 0.05, "told": 0.35, "stands": 0.05, "phrase": 0.0, "those": 0.0}


class Offender(NamedTuple):
    """A word of one of the `KINDS`, and where it is."""

    path: Path
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.kind}: {self.text}"


class Count(NamedTuple):
    """The words of an area, and the offenders among them."""

    words: int
    offenders: list[Offender]

    def rates(self) -> dict[str, float]:
        """How often each kind occurs in 1,000 words."""
        found = Counter(offender.kind for offender in self.offenders)
        return {kind: 1000 * found[kind] / max(1, self.words) for kind in KINDS}


def count(paths: Iterable[Path]) -> Count:
    """Count the words of these files."""
    words, offenders = 0, []
    for path in paths:
        lines = prose(path)
        text = "\n".join(lines)
        words += len(re.findall(r"[A-Za-z][A-Za-z'-]*", text))
        for kind, pattern in KINDS.items():
            for match in pattern.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                offenders.append(Offender(path, line, kind, f"[{match[0]}] in: {lines[line - 1].strip()}"))
    return Count(words, sorted(offenders))


def prose(path: Path) -> list[str]:
    """The lines of a file with all that is not prose taken out, so that line numbers hold."""
    lines = _of_python(path.read_text()) if path.suffix == ".py" else _of_markdown(path.read_text())
    return [re.sub(r"(`+).+?\1", "``", line) for line in lines]


def _of_python(source: str) -> list[str]:
    lines = [""] * (source.count("\n") + 1)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            for offset, line in enumerate((docstring or "").splitlines()):
                lines[node.body[0].lineno - 1 + offset] += line
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            lines[token.start[0] - 1] += token.string.lstrip("# ")
    return lines


def _of_markdown(source: str) -> list[str]:
    lines, in_code = [], False
    for line in source.splitlines():
        is_fence = line.startswith("```")
        in_code ^= is_fence
        lines.append("" if in_code or is_fence else re.sub(r"\]\([^)]*\)|<!--.*?-->", "]", line))
    return lines


def files(area: str) -> Iterator[Path]:
    """The files of an area, with paths relative to the root of the repository."""
    for path in sorted(ROOT.glob(area)):
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (file.relative_to(ROOT) for file in found if file.suffix in {".py", ".md"})


AREAS = _areas()


@pytest.mark.parametrize("area", AREAS)
def test_prose_names_its_subjects(area: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No area has more words that hide the subject than its bounds allow."""
    monkeypatch.chdir(ROOT)
    counted = count(files(area))
    assert counted.words, f"no prose in {area}"
    rates = counted.rates()
    excess = [offender for offender in counted.offenders if rates[offender.kind] > BOUNDS[offender.kind]]
    assert not excess, "\n" + "\n".join(map(str, excess))


def test_words_are_found_across_lines_and_not_in_code(tmp_path: Path) -> None:
    """Docstrings, comments and text are counted, with their lines; code and names in backquotes are not."""
    (tmp_path / "a.py").write_text('"""One.\n\nFor who\nlives."""\nnobody = 1  # `told` by whoever stands by\n')
    (tmp_path / "a.md").write_text("# It stands\n\n```text\nnobody\n```\nlast: nobody\n")
    found = count([tmp_path / "a.py", tmp_path / "a.md"]).offenders
    assert [(offender.path.name, offender.line, offender.kind) for offender in found] == [
        ("a.md", 1, "stands"),
        ("a.md", 6, "nobody"),
        ("a.py", 3, "phrase"),
        ("a.py", 5, "whoever"),
    ]


def main(areas: Sequence[str]) -> None:
    """Print the offenders of each area and the rates of their kinds."""
    for area in areas:
        counted = count(files(area))
        print(*counted.offenders, sep="\n")
        rates = ", ".join(f"{kind} {rate:.2f}" for kind, rate in counted.rates().items())
        print(f"{area}: {counted.words} words; in 1,000: {rates}")


if __name__ == "__main__":
    main(sys.argv[1:] or AREAS)
