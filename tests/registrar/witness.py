"""What another process makes of a registry: a crash shows as the end of that process, all else in what it reports."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import adsum
from adsum import AdsumError

from ..support import Child


class Account(NamedTuple):
    """What each question gave: an answer, or "!" and the reason of the error; and the messages of the errors."""

    answers: dict[str, object]
    messages: list[str]


class Witness(Child):
    """A process that visits one registry after another."""

    def __init__(self) -> None:
        super().__init__(visits)

    def visit(self, folder: Path, *, writes: bool) -> Account:
        """What it reports of the registry in `folder`; `ChildFailed`, with its exit code, where it crashed."""
        self.say(json.dumps([str(folder), writes]))
        return Account(*json.loads(self.line(within=60)))


def visits() -> None:
    """In the child: go where the lines of the input say."""
    for line in sys.stdin:
        folder, writes = json.loads(line)
        print(json.dumps(_visited(folder, writes)))


def _visited(folder: str, writes: bool) -> Account:
    answers: dict[str, object] = {}
    messages: list[str] = []

    def ask(what: str, question: Callable[[], object]) -> None:
        try:
            answers[what] = question()
        except AdsumError as error:
            answers[what] = f"!{error.reason}"
            if error.reason == "corrupt_registry":
                messages.append(str(error))

    try:
        registry = adsum.open(path=folder, timeout=3)
    except AdsumError as error:
        return Account({"open": f"!{error.reason}"}, [str(error)])
    name = f"new-{time.monotonic_ns()}"
    with registry:
        for what in ("before", "after"):
            ask(f"lookup {what}", lambda: _said(registry.lookup("known")))
            ask(f"find {what}", lambda: [_said(entry) for entry in registry.find(capability="work")])
            ask(f"count {what}", registry.count)
            ask(f"audit {what}", registry.audit)
            if what == "before" and writes:
                ask("register", lambda: registry.register(name).process_id.local_id == name)
                ask("look again", lambda: registry.lookup(name) is not None)
                ask("update", lambda: registry.update("known", endpoint="y").metadata.endpoint)
                ask("unregister", lambda: registry.unregister(name))
                ask("look once more", lambda: registry.lookup(name) is not None)
    return Account(answers, messages)


def _said(entry: adsum.Entry | None) -> str | None:
    return None if entry is None else f"{entry.process_id.local_id} {sorted(entry.metadata.capabilities)}"
