"""The plain reading of rows measures them as the registrar does: a row of a departure ends at a number of bytes."""

from __future__ import annotations

import msgspec
import pytest

from adsum import Registry
from adsum._store.layout import encode

from .reading import encoded_entry, plain_entry


@pytest.mark.parametrize("blob", [0, 4000, 40_000])
def test_an_entry_has_the_size_of_its_row(blob: int, registry: Registry) -> None:
    """Also after `Entry` has a field more."""
    row = encode(registry.register("a", custom={"blob": bytes(blob)}).entry)
    assert encoded_entry(plain_entry(msgspec.msgpack.decode(row))) == len(row)
