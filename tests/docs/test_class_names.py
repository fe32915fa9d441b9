"""The names of classes: each is a noun, and one class has it.

A participle cannot be the subject of a sentence, and a word with two meanings has to be explained each time; see
`docs/glossary.md`. A leading underscore is no difference between two names.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "adsum"

PARTICIPLES = {
    *(
        "Begun",
        "Born",
        "Bound",
        "Broken",
        "Built",
        "Chosen",
        "Done",
        "Drawn",
        "Found",
        "Given",
        "Gone",
        "Heard",
        "Held",
    ),
    *("Kept", "Known", "Left", "Lost", "Made", "Meant", "Met", "Read", "Said", "Seen", "Sent", "Shown", "Spent"),
    *("Split", "Swept", "Taken", "Told", "Understood", "Unsent", "Woken", "Written"),
}
# Words that end as a participle does, and are nouns.
NOUNS = {"Feed", "Finding"}
# Names that stay, and why.
EXCEPTIONS = {
    "_wire.Done": "a reply says what became of its request; the protocol names its kinds so",
    "_wire.Failed": "as `Done`",
    "_wire.Queued": "as `Done`",
    "views.mirror.Followed": "a documented name of `adsum.views`",
    "_wire.RegisterOwned": "a request is named by its verb: register, for entries that are owned",
}
SHARED = {
    "Claim": "the public object, and the request for it in `_wire`",
}


class Name(NamedTuple):
    """The name of a class, and its module in the package."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


def classes() -> dict[Name, list[str]]:
    """Each class of the package that is not named as a function is, and the names of its bases."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.islower() and "_" not in node.name.strip("_"):
                found[Name(module, node.name)] = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
    return found


def is_error(name: str, bases: dict[str, list[str]]) -> bool:
    """Whether a class is an exception. An error says what has happened, and is never the subject of a sentence."""
    known = getattr(builtins, name, None)
    if isinstance(known, type) and issubclass(known, BaseException):
        return True
    return any(is_error(base, bases) for base in bases.get(name, []))


def last_word(name: str) -> str:
    """The noun of a name in CamelCase: ``_OpenPromise`` gives Promise."""
    words: list[str] = re.findall(r"[A-Z]+[a-z0-9]*", name)
    return words[-1]


def is_participle(word: str) -> bool:
    """Whether a word has the ending of a participle, or is an irregular one."""
    return word not in NOUNS and (word in PARTICIPLES or re.search("(?:ed|ing)$", word) is not None)


def test_every_class_is_named_by_a_noun() -> None:
    """No class but an error is named by a participle, and each exception is in use."""
    found = classes()
    bases = {name: some for (_, name), some in found.items()}
    wrong = {str(one) for one in found if is_participle(last_word(one.name)) and not is_error(one.name, bases)}
    assert wrong == set(EXCEPTIONS)


def test_a_class_name_has_one_meaning() -> None:
    """No two modules have a class of one name, but those whose two are one thing."""
    modules = defaultdict(list)
    for module, name in classes():
        modules[name.strip("_")].append(module)
    assert {name: some for name, some in modules.items() if len(some) > 1}.keys() == SHARED.keys()


def test_participles_are_recognized() -> None:
    """By their ending or from the list, in the last word alone."""
    assert [
        one
        for one in ("_Committed", "_CachedEntry", "Mirroring", "PendingCall", "Kept", "ChangeFeed")
        if is_participle(last_word(one))
    ] == [
        "_Committed",
        "Mirroring",
        "Kept",
    ]
