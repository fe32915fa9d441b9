"""Mapped files and the copies of their descriptors that Python keeps."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from adsum._os.mapped_file import create_mapped, open_mapped

from ..support import WITHIN
from ..support.processes import open_files


def descriptors_of(path: Path) -> list[int]:
    """The descriptors of this process that are open on a file."""
    return [number for number, file in open_files().items() if file == str(path)]


def test_each_mapping_closes_its_own_descriptor(tmp_path: Path) -> None:
    """Threads map a file and drop it again, in different orders, while others take the numbers in between."""
    path = tmp_path / "words"
    create_mapped(path, 4096)
    until = time.monotonic() + 1

    def map_and_drop(most: int) -> None:
        held = []
        while time.monotonic() < until:
            held.append(open_mapped(path, lambda file: file.st_size))
            if len(held) > most:
                del held[0]

    def take_numbers() -> None:
        while time.monotonic() < until:
            os.close(os.dup(0))

    threads = [threading.Thread(target=map_and_drop, args=(most,)) for most in range(4)]
    threads += [threading.Thread(target=take_numbers) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN)
    assert descriptors_of(path) == []


def test_a_file_that_is_made_shorter_before_it_is_mapped(tmp_path: Path) -> None:
    """It is looked at again, and no error of the mapping itself is raised."""
    path = tmp_path / "words"
    path.write_bytes(bytes(8192))
    seen: list[int] = []

    def cut(file: os.stat_result) -> int:
        seen.append(file.st_size)
        os.truncate(path, 4096)
        return file.st_size

    mapped = open_mapped(path, cut)
    assert mapped is not None
    assert (seen, len(mapped.words) * 8) == ([8192, 4096], 4096)
