"""The models of the cluster: each holds, and each of its mistakes is refuted."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SPEC = Path(__file__).parents[2] / "spec"
needs_spin = pytest.mark.skipif(
    any(shutil.which(program) is None for program in ("spin", "gcc")), reason="no spin or no gcc (Debian: spin, gcc)"
)


@needs_spin
@pytest.mark.timeout(600)
def test_the_models_hold_and_their_mistakes_are_refuted() -> None:
    """What `make model ARGS=--quick` checks: every order of the steps, within the bounds of the models."""
    done = subprocess.run([SPEC / "check", "--quick"], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("model", ["cluster", "names"])
def test_each_mistake_is_described_and_checked(model: str) -> None:
    """The mistakes at the head of a model, those in its code and those that are checked are the same."""
    text, check = (SPEC / f"{model}.pml").read_text(), (SPEC / "check").read_text()
    described = {int(number) for number in re.findall(r"^ \*   (\d+)  ", text, re.MULTILINE)}
    in_code = {int(number) for number in re.findall(r"MISTAKE [!=]= (\d+)", text)} - {0}
    assert described == in_code == set(range(1, len(described) + 1))
    namespace: dict[str, object] = {"__file__": str(SPEC / "check"), "__name__": "check"}
    exec(compile(check, "check", "exec"), namespace)
    runs = namespace["QUICK"]
    assert isinstance(runs, tuple)
    assert {run.mistake for run in runs if run.model == model} == described | {0}
