"""Every system call of a client may fail: the caller gets an error of adsum's, and the same call works afterwards."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import adsum

from ..support import Child, end_registrar
from . import failing_calls
from .failing_calls import CALLS, Case

SOME = 4


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preloaded library."""
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("needs a C compiler (cc) for the library that makes system calls fail")
    path = tmp_path_factory.mktemp("library") / "failing_calls.so"
    source = Path(failing_calls.__file__).with_suffix(".c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", path, source], check=True)
    return path


def _live(library: Path, folder: Path, case: Case | None) -> dict[str, Any]:
    """A client's life in a folder of its own; checks what must hold after any failure."""
    with Child(failing_calls.live, library, folder, json.dumps(case), env={"LD_PRELOAD": str(library)}) as child:
        try:
            told: dict[str, Any] = json.loads(child.line(90))
            assert child.wait() == 0
            assert told["found"] == ["leader", "me", "thread"]
            with adsum.open(path=folder, timeout=10) as registry:
                assert registry.audit() == []
        finally:
            end_registrar(folder)
    return told


def _cases(library: Path, folder: Path) -> list[Case]:
    """Every call from every line, with each of its errors."""
    told = _live(library, folder, None)
    assert told["errors"] == []
    return [(place, call, code) for place, call in told["seen"] for code in CALLS[call]]


def _fail(library: Path, base: Path, cases: list[Case]) -> None:
    wrong = []
    for number, case in enumerate(cases):
        try:
            _live(library, base / str(number), case)
        except AssertionError as error:
            wrong.append(f"{case}: {error}")
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.timeout(600)
def test_some_calls_fail(library: Path, registry_folder: Path) -> None:
    """A few calls, chosen by a seed, fail one at a time."""
    cases = _cases(library, registry_folder / "whole")
    seed = random.randrange(2**32)
    print(f"seed {seed}, {len(cases)} cases")
    _fail(library, registry_folder, random.Random(seed).sample(cases, SOME))


@pytest.mark.soak
def test_every_call_fails(library: Path, registry_folder: Path) -> None:
    """Every call fails once with each of its errors."""
    _fail(library, registry_folder, _cases(library, registry_folder / "whole"))
