"""The choice of files to work on."""

from __future__ import annotations

from pathlib import Path

import pytest

from adsum_demo import sources


def test_all_python_of_a_folder_is_taken(tmp_path: Path) -> None:
    """Every Python file of a given folder is taken, at every depth; hidden folders and other files are left out."""
    for name in ("a.py", "deep/er/b.py", ".hidden/c.py", "d.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    found = sources.select(tmp_path)
    assert found.names == ["a.py", "deep/er/b.py"]
    assert found.size == 12


def test_the_standard_library_is_taken_up_to_a_budget() -> None:
    """Without a folder, whole packages of the standard library are taken, up to the budget."""
    found = sources.select(None)
    assert found.size <= sources.BUDGET_BYTES
    assert "asyncio/tasks.py" in found.names
    assert "json/decoder.py" not in found.names or "json/encoder.py" in found.names


def test_a_folder_without_source_is_an_error(tmp_path: Path) -> None:
    """A folder without Python source is refused."""
    with pytest.raises(sources.NoSources, match="no Python source"):
        sources.select(tmp_path)
