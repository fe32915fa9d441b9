"""What a registrar in the background reports to the client that started it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adsum import Limits
from adsum._os.start_arguments import StartArguments
from adsum._registrar import background, start


def test_it_reports_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registrar that fails after it said "ready" writes nothing into the pipe's number, which is another file by
    then."""
    reading, writing = os.pipe()

    def serve(folder: Path, limits: Limits, ready: Callable[[], None], **_: Any) -> bool:
        ready()
        opened = os.open(tmp_path / "other", os.O_WRONLY | os.O_CREAT)
        if opened != writing:
            os.dup2(opened, writing)
            os.close(opened)
        raise RuntimeError("later")

    monkeypatch.setattr(start, "serve", serve)
    arguments = StartArguments(str(tmp_path), msgspec.json.encode(Limits()).decode(), writing)
    with pytest.raises(RuntimeError, match="later"):
        background._run(arguments, [])
    assert os.read(reading, 100) == b"ready"
    assert (tmp_path / "other").read_bytes() == b""
    os.close(writing)
    os.close(reading)
