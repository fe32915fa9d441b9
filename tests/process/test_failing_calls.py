"""Every system call of client and registrar may fail: a caller gets an error of adsum's, and the same call works
afterwards."""

from __future__ import annotations

import errno
import json
import random
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import admin

from ..support import Child, end_registrar, eventually
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


def _client(library: Path, folder: Path, case: Case | None) -> Any:
    """A client's life in a folder of its own; checks what must hold after any failure."""
    with Child(failing_calls.live, library, folder, json.dumps(case), env={"LD_PRELOAD": str(library)}) as child:
        try:
            told = json.loads(child.line(90))
            assert child.wait() == 0
            _is_sound(folder, told)
        finally:
            end_registrar(folder)
    return told


def _registrar(library: Path, folder: Path, case: Case | None) -> Any:
    """A client's life, while the registrar fails; checks what must hold after any failure. A registrar that dies of it
    is replaced by the client."""
    admin.create_folder(folder)
    with Child(failing_calls.serve, library, folder, json.dumps(case), env={"LD_PRELOAD": str(library)}) as serving:
        try:
            eventually(lambda: serving.process.poll() is not None or _answers(folder))
            with Child(failing_calls.use, folder) as client:
                told = json.loads(client.line(90))
                assert client.wait() == 0
            _is_sound(folder, told)
            assert not any("defect" in error for error in told["errors"]), told["errors"]
            serving.signal(signal.SIGTERM)
            if serving.wait(30) == 0:
                told |= json.loads(serving.line())
        finally:
            end_registrar(folder)
    return told


def _answers(folder: Path) -> bool:
    try:
        return admin.ping(folder) > 0
    except (OSError, adsum.AdsumError):
        return False


def _is_sound(folder: Path, told: Any) -> None:
    assert told["found"] == ["leader", "me", "thread"]
    with adsum.open(path=folder, timeout=10) as registry:
        assert registry.audit() == []


SIDES: dict[str, Callable[[Path, Path, Case | None], Any]] = {"client": _client, "registrar": _registrar}


def _cases(side: str, library: Path, folder: Path) -> list[Case]:
    """Every call from every line, with each of its errors."""
    told = SIDES[side](library, folder, None)
    assert told["errors"] == []
    return [(place, call, code) for place, call in told["seen"] for code in CALLS[call]]


def _fail(side: str, library: Path, base: Path, cases: list[Case]) -> None:
    wrong = []
    for number, case in enumerate(cases):
        try:
            SIDES[side](library, base / str(number), case)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            wrong.append(f"{case}: {error}")
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("side", SIDES)
def test_some_calls_fail(library: Path, registry_folder: Path, side: str) -> None:
    """A few calls, chosen by a seed, fail one at a time."""
    cases = _cases(side, library, registry_folder / "whole")
    seed = random.randrange(2**32)
    print(f"seed {seed}, {len(cases)} cases")
    _fail(side, library, registry_folder, random.Random(seed).sample(cases, SOME))


def test_a_wait_for_a_reply_without_memory(library: Path, registry_folder: Path) -> None:
    """Where the kernel has no memory for the wait for a reply (ENOMEM), the call waits again."""
    cases = [case for case in _cases("client", library, registry_folder / "whole") if case[1] == "poll"]
    waits = [case for case in cases if case[0].startswith("_client/connection.py") and case[2] == errno.ENOMEM]
    assert waits
    for number, case in enumerate(waits):
        assert _client(library, registry_folder / str(number), case)["errors"] == []


@pytest.mark.soak
@pytest.mark.parametrize("side", SIDES)
def test_every_call_fails(library: Path, registry_folder: Path, side: str) -> None:
    """Every call fails once with each of its errors."""
    _fail(side, library, registry_folder, _cases(side, library, registry_folder / "whole"))
