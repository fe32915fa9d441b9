"""Write the page ``reference.md`` from the docstrings: plain Markdown, as it is read where the repository is shown.

    python docs/reference.py            write it
    python docs/reference.py --check    say whether it is as it should be; exit status 1 where not

`reference.in` says what is on the page, and in which order. A line ``@ NAME`` in it is replaced by the docstring of
that object, with its signature; ``@ NAME *`` adds its members, inherited ones included, ``@ NAME a b`` only these, and
``@ NAME own`` those that it has itself. Everything else is copied.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
PAGE = FOLDER / "reference.md"
SOURCE = FOLDER / "reference.in"
NOTE = "<!-- Made by docs/reference.py from docs/reference.in and the docstrings; do not edit. -->\n\n"
WIDTH = 100
# Members of these are those of any mapping, tuple or exception.
_COMMON = {"Mapping", "Collection", "Sized", "Iterable", "Container", "Generic", "Protocol", "Struct", "object"}
_COMMON |= {"tuple", "int", "str", "StrEnum", "Enum", "ReprEnum", "Exception", "BaseException", "OfOneProcess", "dict"}


def page() -> str:
    """The whole page."""
    lines: list[str] = []
    for line in SOURCE.read_text().splitlines():
        lines += _about(line[2:].split()) if line.startswith("@ ") else [line]
    return NOTE + re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _about(words: list[str]) -> Iterator[str]:
    name, *members = words
    found = _find(name)
    if inspect.ismodule(found):
        yield from _markdown(found)
    else:
        yield from _object(name.removeprefix("adsum."), found, 3)
    for member in _members(found, members):
        short = f"{name.rpartition('.')[2]}.{member}" if not inspect.ismodule(found) else f"{name}.{member}"
        yield from _object(
            short.removeprefix("adsum."), inspect.getattr_static(found, member), 3 if inspect.ismodule(found) else 4
        )


def _find(name: str) -> Any:
    """What a dotted name means, from `adsum` on unless it says another package."""
    full = name if name.startswith("adsum") else f"adsum.{name}"
    parts = full.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise LookupError(name)


def _members(found: Any, wanted: list[str]) -> list[str]:
    if not wanted:
        return []
    if wanted not in (["*"], ["own"]):
        return wanted
    if inspect.ismodule(found):
        own = [name for name, one in vars(found).items() if _is_of(one, found.__name__)]
        return [name for name in own if not name.startswith("_")]
    classes = [found] if wanted == ["own"] else [one for one in found.__mro__ if one.__name__ not in _COMMON]
    names = [name for one in classes for name in vars(one) if not name.startswith("_")]
    return [name for name in dict.fromkeys(names) if inspect.getdoc(getattr(found, name))]


def _is_of(one: object, module: str) -> bool:
    """Whether something is of a module, or of one inside it."""
    home = getattr(one, "__module__", None) or ""
    return home == module or home.startswith(f"{module}.")


def _object(name: str, found: Any, level: int) -> Iterator[str]:
    if isinstance(found, (staticmethod, classmethod)):
        found = found.__func__
    yield f"{'#' * level} `{name}`"
    yield ""
    if isinstance(found, property):
        if found.fget is not None:
            returned = inspect.signature(found.fget).return_annotation
            yield from ["```text", f"{name.rpartition('.')[2]}: {_text(returned)}", "```", ""]
    elif inspect.isfunction(found):
        yield from ["```text", *_signature(name, found), "```", ""]
    yield from _markdown(found)
    if typing.is_typeddict(found):
        yield from ["```text", *(f"{field}: {said}" for field, said in _fields(found).items()), "```", ""]


def _fields(found: Any) -> dict[str, str]:
    """The fields of a `TypedDict`, and of those that it extends, with their types as the source has them."""
    fields: dict[str, str] = {}
    for statement in ast.walk(ast.parse(inspect.getsource(found))):
        if isinstance(statement, ast.ClassDef):
            for name in map(ast.unparse, statement.bases):
                if name != "TypedDict":
                    fields |= _fields(getattr(sys.modules[found.__module__], name))
        elif isinstance(statement, ast.AnnAssign):
            fields[ast.unparse(statement.target)] = ast.unparse(statement.annotation)
    return fields


def _signature(name: str, found: Any) -> list[str]:
    """A call, on one line or with a parameter on each. Objects of classes are made by calls, so these have none."""
    signature = inspect.signature(found)
    parameters = [_parameter(one) for one in signature.parameters.values() if one.name != "self"]
    kinds = [one.kind for one in signature.parameters.values() if one.name != "self"]
    keyword_only = next((n for n, kind in enumerate(kinds) if kind is inspect.Parameter.KEYWORD_ONLY), None)
    if keyword_only is not None and inspect.Parameter.VAR_POSITIONAL not in kinds:
        parameters.insert(keyword_only, "*")
    returned = "" if signature.return_annotation is inspect.Signature.empty else _text(signature.return_annotation)
    prefix = "async " if inspect.iscoroutinefunction(found) else ""
    head, tail = f"{prefix}{name.rpartition('.')[2]}(", f"){f' -> {returned}' if returned else ''}"
    line = f"{head}{', '.join(parameters)}{tail}"
    if len(line) <= WIDTH:
        return [line]
    return [head, *(f"    {one}," for one in parameters), tail]


def _parameter(one: inspect.Parameter) -> str:
    stars = "*" if one.kind is one.VAR_POSITIONAL else "**" if one.kind is one.VAR_KEYWORD else ""
    said = "" if one.annotation is one.empty else f": {_text(one.annotation)}"
    if one.default is one.empty:
        return f"{stars}{one.name}{said}"
    default = "os.environ" if one.default is os.environ else repr(one.default)
    return f"{stars}{one.name}{said}{' = ' if said else '='}{default}"


def _text(annotation: object) -> str:
    if isinstance(annotation, typing.ForwardRef):
        return annotation.__forward_arg__
    # A union has a name, too, since Python 3.14.
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _markdown(found: Any) -> Iterator[str]:
    """A docstring as Markdown: examples and tables in fences, code in single backquotes."""
    fence = ""
    rules = 0
    for line in (inspect.getdoc(found) or "").splitlines():
        if not fence and line.lstrip().startswith(">>> "):
            fence = "pycon"
            yield "```pycon"
        elif not fence and re.fullmatch(r"=+( +=+)+", line.strip()):
            fence, rules = "text", 0
            yield "```text"
        if fence == "text" and re.fullmatch(r"=+( +=+)+", line.strip()):
            rules += 1
        if fence == "pycon" and not line.strip():
            fence = ""
            yield "```"
        yield line if fence else re.sub(r"``(.+?)``", _code, line)
        if fence == "text" and rules == 3:
            fence = ""
            yield "```"
    if fence:
        yield "```"
    yield ""


def _code(found: re.Match[str]) -> str:
    code = found[1]
    return f"`` {code} ``" if "`" in code else f"`{code}`"


def main() -> None:
    text = page()
    if "--check" in sys.argv[1:]:
        if PAGE.read_text() != text:
            sys.exit("docs/reference.md is not what the docstrings say; run: python docs/reference.py")
        return
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
