"""Errors of LMDB and of the file system, as errors of adsum."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from adsum._store import page as pages
from adsum._store.environment import translating
from adsum.errors import CorruptRegistry, RegistrarUnavailable


@pytest.mark.parametrize("has_page", [False, True], ids=["a removed folder", "a file is missing"])
def test_a_file_that_is_missing(has_page: bool, tmp_path: Path) -> None:
    """A registry that is removed meanwhile is made anew at the next call; one without some of its files is damaged."""
    if has_page:
        pages.create(tmp_path, 2**20)
    kind, said = (CorruptRegistry, "remove the folder") if has_page else (RegistrarUnavailable, "try again")
    with pytest.raises(kind, match=said), translating(tmp_path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
