"""The texts and protocols that describe a member, between this version and one that knows none of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

import adsum
from adsum import admin
from adsum._client.keeper import fields_of
from adsum._store import layout
from adsum.model import EPOCH, Entry, Metadata, ProcessId
from tests.support import Agent, kill_registrar

from .conftest import _agents_of, with_class_variables
from .test_claims import _ADDED

OldAgent = Callable[[], Agent]
_NAMES = ("description", "version", "protocols", "doing")


@pytest.fixture
def old_agent(registry_folder: Path, tmp_path: Path) -> Iterator[OldAgent]:
    """Starts processes of an adsum without these fields, which is the same in everything else."""
    package = tmp_path / "older" / "adsum"
    shutil.copytree(Path(adsum.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_validation.py", "model.py"):
        text = (package / name).read_text()
        for added, older in _ADDED[name].items():
            if any(f" {field}:" in added or f".{field}:" in added for field in _NAMES):
                assert added in text, added
                text = text.replace(added, older)
        text = with_class_variables(text)
        (package / name).write_text(text)
    yield from _agents_of(package.parent, registry_folder)


def test_a_row_of_an_earlier_version_is_read() -> None:
    """A stored entry that ends before these fields has their defaults, and all that it has."""
    entry = Entry(ProcessId("default", "n", "a"), 1, 2, 3, 7, EPOCH, EPOCH, 9, Metadata(slots=3, endpoint="x"))
    row = msgspec.msgpack.decode(layout.encode(layout.Record(entry, b"session")))
    assert len(row[0][8]) == len(Metadata.__struct_fields__)
    del row[0][8][-len(_NAMES) :]
    read = layout.decode_record(msgspec.msgpack.encode(row))
    assert read == layout.Record(entry, b"session")
    assert read.entry.metadata.protocols is Metadata().protocols


def test_an_older_registrar_refuses_them(old_agent: OldAgent, registry_folder: Path) -> None:
    """A registrar that does not know these fields refuses each by its name and changes nothing; it serves members that
    state none, and once it is replaced it takes them."""
    old_agent().do("registry.register('w')")
    with adsum.open(path=registry_folder, timeout=10) as registry:
        for name, value in (("description", "x"), ("version", "1"), ("protocols", {"mcp"}), ("doing", "x")):
            with pytest.raises(adsum.InvalidMetadata, match=rf"{name}: this registrar does not know"):
                registry.register("v", **{name: value})  # type: ignore[arg-type]
        registry.register("v")
        assert registry["w"].metadata.protocols == frozenset()
        admin.replace_registrar(registry_folder, timeout=20)
        assert registry.update("w", doing="x").metadata.doing == "x"


def test_an_older_client_reads_and_updates(old_agent: OldAgent, registry_folder: Path) -> None:
    """A client that does not know these fields reads and updates a member that states them, and they stay."""
    with adsum.open(path=registry_folder, timeout=10) as registry:
        registry.register("w", description="Works.", version="2", protocols={"mcp"}, doing="x", endpoint="a")
        old = old_agent()
        assert old.value("registry['w'].metadata.endpoint") == "a"
        old.do("registry.update('w', endpoint='b')")
        metadata = registry["w"].metadata
        assert (metadata.description, metadata.version, metadata.doing) == ("Works.", "2", "x")
        assert metadata.protocols == {"mcp"}
        assert metadata.endpoint == "b"


def test_an_older_registrar_takes_over(old_agent: OldAgent, registry_folder: Path) -> None:
    """A registrar that does not know these fields serves tables with them; an entry that it changes loses them."""
    with adsum.open(path=registry_folder, timeout=10) as registry:
        registry.register_many([("w", {"doing": "x"}), ("v", {"doing": "y"})])
        old = old_agent()
        kill_registrar(registry_folder)
        old.do("registry.update('w', endpoint='b')")
        assert [entry.metadata.doing for entry in registry.find()] == ["y", ""]


def test_a_member_that_states_none_comes_back_with_an_older_registrar() -> None:
    """What a client sends to register a member anew names only those of these fields that are stated: an older
    registrar would refuse the others."""
    entry = Entry(ProcessId("default", "n", "a"), 1, 2, 3, 7, EPOCH, EPOCH, 9, Metadata(doing="x"))
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(fields_of(entry)))
    assert set(_NAMES) & sent.keys() == {"doing"}
