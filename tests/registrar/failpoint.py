"""A registrar that can be made to die at a named step."""

from __future__ import annotations

from pathlib import Path

import pytest

from adsum._registrar.failpoints import STEPS


class Failpoint:
    """Of the registrars started from now on, the first to come to `step` after `arm` dies there."""

    def __init__(self, step: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert step in STEPS, f"no such step: {step}"
        self._token = folder.with_name("failpoint")
        monkeypatch.setenv("ADSUM_FAILPOINT", f"{step}:{self._token}")

    def arm(self) -> None:
        self._token.touch()

    @property
    def reached(self) -> bool:
        return not self._token.exists()
