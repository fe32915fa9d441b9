"""Opening the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from adsum._os.mapped_file import open_mapped
from adsum._store import page as pages


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="adsum-page-", dir="/dev/shm") as folder:
        pages.create(Path(folder), 2**20)
        yield Path(folder)


def test_a_page_that_is_replaced_while_it_is_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has opened the old file just before a registrar replaced and retired it finds the new one, and not that there
    is no registry."""

    def replace_after(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(pages, "open_mapped", open_mapped)
        mapped = open_mapped(*arguments, **options)
        pages.keep_until_retired(folder)
        pages.create(folder, 2**20, generation=2)
        pages.retire_replaced(folder)
        return mapped

    monkeypatch.setattr(pages, "open_mapped", replace_after)
    page = pages.peek(folder)
    assert page is not None
    assert page.generation == 2


def test_a_retired_page_is_no_registry(folder: Path) -> None:
    """A folder whose page is retired has no registry."""
    page = pages.attach(folder, writable=True)
    assert page is not None
    page.retire()
    assert pages.peek(folder) is None
