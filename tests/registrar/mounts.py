"""File systems of a test's own, where root allows."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def _mount(*arguments: object) -> None:
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")


@contextlib.contextmanager
def _unmounted(place: Path) -> Iterator[None]:
    try:
        yield
    finally:
        # Lazily: a registrar may still be inside, and is ended later.
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextlib.contextmanager
def small_tmpfs(place: Path, size: int) -> Iterator[Path]:
    """A tmpfs of `size` bytes, mounted at `place` inside the block."""
    if os.geteuid():
        pytest.skip("only root may mount a small tmpfs")
    place.mkdir(mode=0o700)
    _mount("-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", place)
    with _unmounted(place):
        yield place


@contextlib.contextmanager
def read_only(place: Path) -> Iterator[None]:
    """`place` and all in it cannot be written through its path inside the block."""
    if os.geteuid():
        place.chmod(0o500)
        try:
            yield
        finally:
            place.chmod(0o700)
        return
    _mount("--bind", place, place)
    with _unmounted(place):
        _mount("-o", "remount,bind,ro", place)
        yield
