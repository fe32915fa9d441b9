"""adsum in a Python whose standard library was changed before adsum was imported, or is not complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..support import Child, end_registrar, eventually, registrar_pid
from . import patched


@pytest.mark.parametrize("patch", ["removed", "replaced", "old_headers"])
def test_a_changed_standard_library(registry_folder: Path, patch: str) -> None:
    """Every call works where a library has replaced `select`, and where Python has no pidfd calls; while one waits,
    other threads go on."""
    with Child(patched.run, patch, registry_folder) as child:
        for step in patched.STEPS:
            child.expect(step)
        assert child.wait() == 0


def test_a_registrar_without_pidfd_calls(registry_folder: Path) -> None:
    """A registrar whose Python has no pidfd calls notices deaths."""
    with Child(patched.serve, "old_headers", registry_folder) as registrar:
        eventually(lambda: (registry_folder / "socket").exists())
        with Child(patched.run, "old_headers", registry_folder) as child:
            for step in patched.STEPS:
                child.expect(step)
            assert registrar_pid(registry_folder) == registrar.pid
        end_registrar(registry_folder)
