"""The job: what the agents of the demo do with a file of Python source, as pure functions.

A file passes four stages. `read` decodes its bytes as Python does, `parse` finds its definitions and imports, `count`
classifies its lines, and `check` compares the findings of the two and makes the report. `analyse` is all four in a row.
When all files of a package are done, `sum_up` adds them up. `analyse` and `total` are the sequential run that the
agents' result must equal.

`parse` uses the syntax tree and `count` the tokens. Each works without the other's findings, so that `check` has two
independent results to compare.
"""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

READING, PARSING, COUNTING, CHECKING = STAGES = ("reading", "parsing", "counting", "checking")
# The stage of a whole package, once all its files are done.
SUMMING = "summing"

CODE, COMMENT, BLANK, DOCSTRING = "=", "#", " ", '"'
LINE_NAMES = {CODE: "code", COMMENT: "comment", BLANK: "blank", DOCSTRING: "docstring"}

# A file that Python cannot compile is a finding. It does not fail the job.
_NO_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError)


class Inconsistent(Exception):
    """Two stages disagree about one file, so one of them is wrong."""


class Text(msgspec.Struct, frozen=True, array_like=True, tag="text"):
    """The text of a file, as the reader decodes it. `problem` says why there is none."""

    text: str
    digest: str
    problem: str = ""


class Definition(msgspec.Struct, frozen=True, array_like=True):
    """A class, function, async function or method, by its qualified name, and the line that names it."""

    kind: str
    name: str
    line: int


class Symbols(msgspec.Struct, frozen=True, array_like=True, tag="symbols"):
    """The findings of the parser. `docstrings` holds first and last line of each docstring that shares no line with
    code."""

    defined: list[Definition] = []
    imported: list[str] = []
    docstrings: list[tuple[int, int]] = []
    problem: str = ""


class Lines(msgspec.Struct, frozen=True, array_like=True, tag="lines"):
    """The findings of the counter: one character for each line, see `LINE_NAMES`."""

    kinds: str
    problem: str = ""


class FileReport(msgspec.Struct, frozen=True, array_like=True, tag="file"):
    """The result for one file. `fingerprint` covers every symbol and line, so that equal reports mean equal
    findings."""

    name: str
    package: str
    defined: dict[str, int]
    imported: list[str]
    lines: dict[str, int]
    problem: str
    fingerprint: str


class PackageTotals(msgspec.Struct, frozen=True):
    """The files of one package together; `imported` counts distinct names."""

    files: int
    defined: dict[str, int]
    imported: int
    lines: dict[str, int]
    problems: int


def read(path: Path) -> Text:
    """The text of a source file, decoded as the file declares, and a digest of that text."""
    try:
        with tokenize.open(path) as file:
            text = file.read()
        return Text(text, digest_of(text))
    except (OSError, SyntaxError, ValueError) as error:
        return Text("", digest_of(""), f"cannot be read: {type(error).__name__}")


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def parse(text: str) -> Symbols:
    """The definitions, imports and docstrings in the syntax tree."""
    try:
        with warnings.catch_warnings():
            # Invalid escapes in the analysed source are not errors of the demo.
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except _NO_PYTHON as error:
        return Symbols(problem=f"cannot be parsed: {type(error).__name__}")
    lines = text.split("\n")
    defined: list[Definition] = []
    imported: set[str] = set()
    docstrings: list[tuple[int, int]] = []
    for node, owner in _walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            imported.update(_imported(node))
        elif isinstance(node, _DEFINITIONS):
            defined.append(Definition(_kind(node, owner), f"{owner[1]}{node.name}", node.lineno))
        if isinstance(node, (ast.Module, *_DEFINITIONS)) and (span := _docstring_span(node, lines)):
            docstrings.append(span)
    return Symbols(sorted(defined, key=lambda d: d.line), sorted(imported), sorted(docstrings))


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_Owner = tuple[bool, str]


# The fields in which a statement holds further statements. Definitions and imports occur nowhere else.
_BODIES = ("body", "orelse", "finalbody", "handlers", "cases")


def _walk(tree: ast.Module) -> Iterator[tuple[ast.AST, _Owner]]:
    """Every statement with its owner: whether that is a class, and the prefix of its qualified names."""
    waiting: list[tuple[ast.AST, _Owner]] = [(tree, (False, ""))]
    while waiting:
        node, owner = waiting.pop()
        yield node, owner
        if isinstance(node, _DEFINITIONS):
            owner = isinstance(node, ast.ClassDef), f"{owner[1]}{node.name}."
        for body in _BODIES:
            waiting.extend((child, owner) for child in getattr(node, body, ()))


def _kind(node: ast.AST, owner: _Owner) -> str:
    if isinstance(node, ast.ClassDef):
        return "class"
    if owner[0]:
        return "method"
    return "async function" if isinstance(node, ast.AsyncFunctionDef) else "function"


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    else:
        origin = "." * node.level + (f"{node.module}." if node.module else "")
        yield from (origin + alias.name for alias in node.names)


def _docstring_span(
    node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, lines: list[str]
) -> tuple[int, int] | None:
    match node.body:
        case [ast.Expr(value=ast.Constant(value=str()) as string) as statement, *_]:
            first, last = string.lineno, string.end_lineno or string.lineno
        case _:
            return None
    # The tree counts columns in bytes of UTF-8.
    before = lines[first - 1].encode()[: string.col_offset].strip()
    after = lines[last - 1].encode()[string.end_col_offset :].strip()
    in_parentheses = (statement.lineno, statement.col_offset) != (first, string.col_offset)
    if before or in_parentheses or (after and not after.startswith(b"#")):
        return None
    return first, last


def count(text: str) -> Lines:
    """The kind of every line, from the tokens. Every statement that is only a string counts as a docstring."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    kinds = [CODE if line.strip() else BLANK for line in lines]
    statement: list[tokenize.TokenInfo] = []
    problem = ""
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                if not lines[token.start[0] - 1][: token.start[1]].strip():
                    kinds[token.start[0] - 1] = COMMENT
            elif token.type == tokenize.NEWLINE:
                _mark_strings(statement, kinds)
                statement = []
            elif token.type not in _LAYOUT:
                statement.append(token)
    except (tokenize.TokenError, *_NO_PYTHON) as error:
        problem = f"cannot be split into tokens: {type(error).__name__}"
    return Lines("".join(kinds), problem)


_LAYOUT = (tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def _mark_strings(statement: list[tokenize.TokenInfo], kinds: list[str]) -> None:
    """Mark the lines of multi-line strings: as docstring where the statement is only strings, as code elsewhere."""
    if statement and all(token.type == tokenize.STRING for token in statement):
        first, last = statement[0].start[0], statement[-1].end[0]
        kinds[first - 1 : last] = DOCSTRING * (last - first + 1)
        return
    for token in statement:
        first, last = token.start[0], token.end[0]
        if last > first:
            kinds[first - 1 : last] = CODE * (last - first + 1)


def check(name: str, source: Text, symbols: Symbols, lines: Lines) -> FileReport:
    """The report on a file, where the findings of the stages agree. Errors: `Inconsistent`."""
    if digest_of(source.text) != source.digest:
        raise Inconsistent(f"{name}: the text is not the one that was read")
    written = source.text.split("\n")
    if not written[-1]:
        written.pop()
    if len(written) != len(lines.kinds):
        raise Inconsistent(f"{name}: {len(written)} lines, of which {len(lines.kinds)} were counted")
    for number, (line, kind) in enumerate(zip(written, lines.kinds, strict=True), 1):
        if (kind == BLANK and line.strip()) or (kind == COMMENT and not line.lstrip().startswith("#")):
            raise Inconsistent(f"{name}, line {number}: counted as {LINE_NAMES[kind]}, but it is {line!r}")
    problem = source.problem or symbols.problem or lines.problem
    if not problem:
        _compare(name, symbols, lines.kinds)
    return FileReport(
        name=name,
        package=package_of(name),
        defined=_counted(definition.kind for definition in symbols.defined),
        imported=symbols.imported,
        lines=_counted(LINE_NAMES[kind] for kind in lines.kinds),
        problem=problem,
        fingerprint=hashlib.sha256(msgspec.json.encode((source.digest, symbols, lines))).hexdigest()[:16],
    )


def _compare(name: str, symbols: Symbols, kinds: str) -> None:
    """Each definition must be on a line of code, each docstring on docstring lines only. Errors: `Inconsistent`."""
    for definition in symbols.defined:
        if kinds[definition.line - 1] != CODE:
            raise Inconsistent(f"{name}, line {definition.line}: {definition.name} is not on a line of code")
    for first, last in symbols.docstrings:
        if kinds[first - 1 : last] != DOCSTRING * (last - first + 1):
            raise Inconsistent(f"{name}, lines {first} to {last}: a docstring to the parser, but not to the counter")


def _counted(words: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items()))


def analyse(root: Path, name: str) -> FileReport:
    """All four stages, one after the other, in this process."""
    source = read(root / name)
    return check(name, source, parse(source.text), count(source.text))


def package_of(name: str) -> str:
    """The package that a file belongs to."""
    return ".".join(Path(name).parent.parts) or "(top)"


def sum_up(files: Sequence[FileReport]) -> PackageTotals:
    """The files of one package together."""
    return PackageTotals(
        files=len(files),
        defined=_sum(file.defined for file in files),
        imported=len({name for file in files for name in file.imported}),
        lines=_sum(file.lines for file in files),
        problems=sum(bool(file.problem) for file in files),
    )


def total(reports: Iterable[FileReport]) -> dict[str, PackageTotals]:
    """The reports summed up by package, in order of name."""
    packages: dict[str, list[FileReport]] = {}
    for report in reports:
        packages.setdefault(report.package, []).append(report)
    return {package: sum_up(files) for package, files in sorted(packages.items())}


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    summed: Counter[str] = Counter()
    for one in counts:
        summed.update(one)
    return dict(sorted(summed.items()))
