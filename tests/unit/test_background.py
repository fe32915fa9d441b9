"""What a registrar in the background reports to the client that started it."""

from __future__ import annotations

import os
import subprocess
import sys
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


RECORDS = """
import gc, msgspec
from adsum._registrar import background, start
for kind in gc.get_objects():
    if isinstance(kind, type) and kind.__module__.startswith("adsum"):
        if isinstance(kind, type(msgspec.Struct)) or hasattr(kind, "_fields"):
            annotations = vars(kind).get("__annotations__", {}).values()
            print(kind.__module__, kind.__qualname__, any(map(_is_text, annotations)))
"""


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="annotations are evaluated when they are asked for")
def test_records_that_a_registrar_loads_have_real_annotations() -> None:
    """Text would be compiled and evaluated at each start: a tenth of the time in which a registrar is replaced."""
    is_text = (
        "from typing import ForwardRef\ndef _is_text(annotation): return isinstance(annotation, (str, ForwardRef))"
    )
    program = subprocess.run(
        [sys.executable, "-c", f"{is_text}\n{RECORDS}"], capture_output=True, text=True, check=True
    )
    lines = [line.split() for line in program.stdout.splitlines()]
    assert len(lines) > 60
    assert [line for line in lines if line[2] == "True"] == []
