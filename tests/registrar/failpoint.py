"""A registrar that can be made to die at a named step."""

from __future__ import annotations

from pathlib import Path

import pytest

from adsum._registrar.failpoints import STEPS


class Failpoint:
    """Every registrar started from now on dies at `step`, the first time it gets there after `arm`; only one of them."""

    def __init__(self, step: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert step in STEPS, f"no such step: {step}"
        self._token = folder.with_name("failpoint")
        monkeypatch.setenv("ADSUM_FAILPOINT", f"{step}:{self._token}")

    def arm(self) -> None:
        self._token.touch()

    @property
    def reached(self) -> bool:
        return not self._token.exists()
