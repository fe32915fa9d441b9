"""What msgspec says about the keywords of a call, in the caller's words: Python's names of types, and the path of the
value as the caller would write it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set

# msgspec names types by JSON's words, inside backticks.
_PYTHON_WORDS = {"array": "list", "object": "dict", "null": "None"}
# Compiled at the first mistake: no process needs them before.
_UNKNOWN_FIELD = r"(?s:Object contains unknown field `(.*)`(?: - at `\$`)?)"
_STEP = r"\.(?P<field>\w+)|\[(?P<index>\d+|\.\.\.)\]"
# Arguments of the calls that also take metadata as keywords.
_ARGUMENTS = ("everywhere", "owned_by", "process", "replace", "timeout")
_ADVICE = {
    "Invalid RFC3339 encoded datetime": "; give a datetime with a time zone, such as datetime.now(UTC)",
    "Expected `datetime` with a timezone component": ", such as datetime.now(UTC)",
}


def explain(message: str, fields: Mapping[str, object], choices: Mapping[str, Iterable[str] | None]) -> str:
    """The message of a `msgspec.ValidationError` about `fields`, with the path of the value first.

    `choices` has the possible words of each field that exists, None where every word is possible.
    """
    if unknown := re.fullmatch(_UNKNOWN_FIELD, message):
        return _unknown_field(unknown[1], choices)
    what, _, pointer = message.partition(" - at ")
    what += _ADVICE.get(what, "")
    what = re.sub("`.*?`", lambda quoted: _in_python_words(quoted[0]), what)
    is_key = pointer.startswith("`key` in ")
    path, value = _locate(pointer.removeprefix("`key` in ").strip("`"), fields, _words(what))
    if is_key and isinstance(value, Mapping):
        return f"{path}: the key {next(key for key in value if not isinstance(key, str))!r} is no string"
    what = re.sub(r"got `.*`", lambda _: f"got `{type_name(value)}`", what)
    if isinstance(value, str) and "list" in _words(what):
        what += f"; give a set or a list, such as {[value]!r}"
    words = choices.get(path.removeprefix("metadata."))
    if words is not None:
        what += f"; one of {', '.join(words)}"
    return f"{path}: {what[:1].lower()}{what[1:]}"


def do_you_mean(name: str, known: Iterable[str]) -> str:
    """The question whether a name that does not exist is meant for a similar one of those that do; empty without a
    similar one."""
    import difflib  # No process needs it before it makes a mistake.

    similar = difflib.get_close_matches(name, list(known), 1)
    return f"do you mean {similar[0]}? " if similar else ""


def _unknown_field(name: str, choices: Mapping[str, object]) -> str:
    if name in _ARGUMENTS:
        return f"metadata.{name}: no such field; {name}= is an argument of other calls: see help(adsum.Registry)"
    meant = do_you_mean(name, (*choices, *_ARGUMENTS))
    return f"metadata.{name}: no such field; {meant}the fields are {', '.join(choices)} (free data goes into custom)"


def _in_python_words(quoted: str) -> str:
    return re.sub(r"\w+", lambda word: _PYTHON_WORDS.get(word[0], word[0]), quoted)


def _words(what: str) -> set[str]:
    """The names of the types that would be right: ``Expected `int | str`, got ...`` gives int and str."""
    expected = re.match("Expected `(.*?)`", what)
    words = set(re.findall(r"\w+", expected[1])) if expected else set()
    return words | {"int"} if "float" in words else words


def _locate(pointer: str, fields: Mapping[str, object], right: set[str]) -> tuple[str, object]:
    """The path of the value that msgspec refuses at ``$.field[index]``, and that value. `right`: see `_words`.

    msgspec writes ``[...]`` for a key, which is found here, and numbers the elements of a set, which have no number.
    """
    path = "metadata"
    value: object = fields
    for step in re.finditer(_STEP, pointer):
        field, index = step["field"], step["index"]
        if field and isinstance(value, Mapping):
            value = value[field]
            path += step[0]
        elif isinstance(value, Mapping):
            wrong = [key for key, part in value.items() if type_name(part) not in right]
            value = value[wrong[0]] if wrong else value
            path += f"[{wrong[0]!r}]" if wrong else step[0]
        elif isinstance(value, Set):
            value = list(value)[int(index)]
        elif isinstance(value, Sequence):
            value = value[int(index)]
            path += step[0]
    return path, value


def type_name(value: object) -> str:
    return "None" if value is None else type(value).__name__
