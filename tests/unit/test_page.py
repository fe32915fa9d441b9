"""Mapping the page, in several threads at once."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from adsum._store import page as pages


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="adsum-page-", dir="/dev/shm") as folder:
        pages.create(Path(folder), 2**20)
        yield Path(folder)


def test_threads_that_map_it_at_once_leave_no_descriptor(folder: Path) -> None:
    """The module `mmap` keeps a descriptor of its own until Python 3.13; each page knows its own one."""
    before = len(os.listdir("/proc/self/fd"))
    failed: list[BaseException] = []

    def map_often() -> None:
        try:
            kept = []
            for number in range(300):
                page = pages.peek(folder)
                assert page is not None
                kept.append(page)
                del kept[: number % 5]
        except BaseException as error:  # noqa: BLE001 - the test reports it
            failed.append(error)

    threads = [threading.Thread(target=map_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert not failed
    assert len(os.listdir("/proc/self/fd")) == before
