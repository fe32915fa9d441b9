"""Hooks around `fork` and at exit: one module has them all, in one order."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

import adsum
from adsum._os import forking

SOURCE = Path(adsum.__file__).parent
HOOKS = {("os", "register_at_fork"), ("atexit", "register")}


def test_no_other_module_has_hooks_of_its_own() -> None:
    """`os.register_at_fork` and `atexit.register` are called in `_os.forking` alone."""
    callers = {
        str(file.relative_to(SOURCE))
        for file in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and (node.value.id, node.attr) in HOOKS
    }
    assert callers == {"_os/forking.py"}


class Recorder:
    """Notes its hooks in `order`."""

    def __init__(self, order: list[str]) -> None:
        self._order = order

    def quiesce(self) -> None:
        self._order.append("quiesce")

    def after_fork(self, *, child: bool) -> None:
        self._order.append("resume in child" if child else "resume")


def test_what_is_acquired_first_is_released_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Module hooks surround the objects' hooks, on both sides of a fork."""
    order: list[str] = []
    for name in ("_before_fork", "_after_in_parent", "_after_in_child"):
        monkeypatch.setattr(forking, name, [])
    recorder = Recorder(order)
    forking.add_fork_aware(recorder)
    for name in ("first", "second"):
        forking.call_around_fork(
            before=lambda name=name: order.append(f"before {name}"),  # type: ignore[misc]
            after_in_parent=lambda name=name: order.append(f"after {name}"),  # type: ignore[misc]
            after_in_child=lambda: os._exit(0 if order == ["before second", "before first", *AROUND] else 1),
        )
    if (child := os.fork()) == 0:
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert order == ["before second", "before first", "quiesce", "resume", "after first", "after second"]


AROUND = ["quiesce", "resume in child"]
