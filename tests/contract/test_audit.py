"""The audit finds every violation of the invariants in the tables."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

import adsum
from adsum import Registry
from adsum._store import page as pages
from adsum._store.environment import Environment, open_environment
from adsum._store.layout import Record, decode_record, encode, key_of, pack_number
from tests.support import Agent, Child, end_registrar

ABSENT = pack_number(999)
OWNER = (b"\0" * 7 + b"\1") * 3


class Tables:
    """The tables of a registry without a registrar, open for the test to damage."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment

    def put(self, table: str, key: bytes, value: bytes) -> None:
        with self.environment.lmdb.begin(write=True) as txn:
            txn.put(key, value, db=self.environment.tables[table])

    def delete(self, table: str, key: bytes, value: bytes = b"") -> None:
        with self.environment.lmdb.begin(write=True) as txn:
            assert txn.delete(key, value, db=self.environment.tables[table])

    def record(self, number: int) -> Record:
        with self.environment.lmdb.begin() as txn:
            stored = txn.get(pack_number(number), db=self.environment.entries)
        assert stored is not None
        return decode_record(stored)

    def change(self, number: int, **fields: object) -> None:
        record = self.record(number)
        entry = msgspec.structs.replace(record.entry, **fields)
        self.put("entries", pack_number(number), encode(msgspec.structs.replace(record, entry=entry)))

    def change_metadata(self, number: int, **fields: object) -> None:
        self.change(number, metadata=msgspec.structs.replace(self.record(number).entry.metadata, **fields))


def owner_row(tables: Tables) -> bytes:
    return b"".join(pack_number(part) for part in tables.record(1).entry.owner)


def id_row(tables: Tables, number: int) -> bytes:
    return key_of(tables.record(number).entry.process_id)


OLD = datetime(2001, 1, 1, tzinfo=UTC)
ONE, TWO = pack_number(1), pack_number(2)

# Incarnation 1 is "a" with the capability "x", incarnation 2 is "b"; both are registered as services.
DAMAGE: dict[str, tuple[Callable[[Tables], object], list[str]]] = {
    "capability row lost": (
        lambda tables: tables.delete("by_capability", b"default\0x", ONE),
        [r"I2: by_capability lacks the row b'default\\x00x' of default/n/a"],
    ),
    "type row lost": (lambda tables: tables.delete("by_type", b"default\0service", TWO), ["I2: by_type lacks .*n/b"]),
    "health row lost": (
        lambda tables: tables.delete("by_health", b"default\0healthy", ONE),
        ["I2: by_health lacks .*n/a"],
    ),
    "node row lost": (lambda tables: tables.delete("by_node", b"default\0n", ONE), ["I2: by_node lacks .*n/a"]),
    "row of no attribute": (
        lambda tables: tables.put("by_capability", b"default\0x", TWO),
        ["I2: by_capability has a row .* for incarnation 2, which has no such attribute"],
    ),
    "row of another namespace": (
        lambda tables: tables.put("by_capability", b"other\0x", ONE),
        [r"I2: by_capability has a row b'other\\x00x' for incarnation 1"],
    ),
    "row of no entry": (
        lambda tables: tables.put("by_node", b"default\0n", ABSENT),
        ["I2: by_node has a row .* for incarnation 999"],
    ),
    "owner lost": (lambda tables: tables.delete("owners", owner_row(tables), ONE), ["I5: owners lacks .*n/a"]),
    "owner of nothing": (
        lambda tables: tables.put("owners", OWNER, ABSENT),
        ["I5: owners has a row .* for incarnation 999"],
    ),
    "owner of another's entry": (
        lambda tables: tables.put("owners", OWNER, ONE),
        ["I5: owners has a row .* for incarnation 1"],
    ),
    "name lost": (
        lambda tables: tables.delete("ids", id_row(tables, 1)),
        ["I1: the entry of default/n/a .* has no name"],
    ),
    "name of nothing": (
        lambda tables: tables.put("ids", b"default\0n\0c", ABSENT),
        [r"I1: the id b'default\\x00n\\x00c' names incarnation 999, which does not exist"],
    ),
    "name cut short": (
        lambda tables: tables.put("ids", id_row(tables, 1), ONE[:3]),
        ["I1: the id .* names incarnation 0, which does not exist"],
    ),
    "name of another's entry": (
        lambda tables: tables.put("ids", b"other\0n\0a", ONE),
        [r"I3: the id b'other\\x00n\\x00a' names the entry of default/n/a", "S1: incarnation 1 has two names"],
    ),
    "entry lost": (
        lambda tables: tables.delete("entries", ONE),
        ["I1: the id .* names incarnation 1, which does not exist", "I2: by_capability .* 1,", "I5: owners .* 1,"],
    ),
    "entry unreadable": (lambda tables: tables.put("entries", ONE, b"\xc1"), ["I1: incarnation 1 cannot be read"]),
    "entry of the wrong type": (
        lambda tables: tables.put("entries", ONE, encode(["a", 5])),
        ["I1: incarnation 1 cannot be read"],
    ),
    "entry of no Unicode": (
        lambda tables: tables.put(
            "entries", ONE, encode(tables.record(1)).replace(b"\xa7default", b"\xa7" + b"\xff" * 7)
        ),
        ["I1: incarnation 1 cannot be read"],
    ),
    "incarnation of another": (
        lambda tables: tables.change(1, incarnation=2),
        ["I1: default/n/a is stored at 1, has incarnation 2"],
    ),
    "revision before the incarnation": (lambda tables: tables.change(2, revision=1), ["I1: default/n/b .* revision 1"]),
    "revision of the future": (
        lambda tables: tables.change(1, revision=50),
        ["I1: default/n/a .* revision 50, and the registry is at 2"],
    ),
    "updated before registered": (
        lambda tables: tables.change(1, last_updated=OLD),
        ["I1: default/n/a was updated before it was registered"],
    ),
    "empty variable": (
        lambda tables: tables.change_metadata(1, coordination_variables=frozenset({""})),
        [r"I4: default/n/a: metadata\.coordination_variables: "],
    ),
    "endpoint too long": (
        lambda tables: tables.change_metadata(1, endpoint="x" * 5000),
        [r"I4: default/n/a: metadata\.endpoint: "],
    ),
    "created after the check": (
        lambda tables: tables.change_metadata(1, last_health_check=OLD),
        ["I4: default/n/a: created_at is after last_health_check"],
    ),
    "too many capabilities": (
        lambda tables: tables.change_metadata(2, capabilities=frozenset(map(str, range(300)))),
        [r"I4: default/n/b: metadata\.capabilities: 300 given"],
    ),
}


def damage(folder: str, what: str) -> None:
    """Damage the tables. Runs in a separate process, because a process may open an LMDB environment only once."""
    page = pages.attach(Path(folder))
    assert page is not None
    environment = open_environment(Path(folder), page.generation, page.map_size, writable=True)
    DAMAGE[what][0](Tables(environment))
    environment.close()


@pytest.fixture
def two(registry_folder: Path) -> Registry:
    """A registry with the entries a and b, no registrar, and no process that has the tables open."""
    with adsum.open(path=registry_folder, node="n", timeout=10) as registry:
        registry.register_many([("a", {"type": "service", "capabilities": {"x"}}), ("b", {"type": "service"})])
        assert registry.audit() == []
    end_registrar(registry_folder)
    return registry


@pytest.mark.parametrize("what", DAMAGE)
def test_every_violation_is_named(two: Registry, what: str) -> None:
    """The audit finds each kind of damage and names the invariant that it violates."""
    with Child(damage, two.folder, what) as child:
        assert child.wait() == 0
    with adsum.open(path=two.folder, node="n") as registry:
        found = "\n".join(registry.audit())
    for expected in DAMAGE[what][1]:
        assert re.search(f"^{expected}", found, re.MULTILINE), found


@pytest.mark.parametrize("what", ["entry unreadable", "entry of the wrong type", "entry of no Unicode", "entry lost"])
def test_a_damaged_row_is_an_error_and_never_an_answer(two: Registry, what: str) -> None:
    """A read of a damaged row raises `CorruptRegistry` with file and remedy; reads of other rows are answered."""
    with Child(damage, two.folder, what) as child:
        assert child.wait() == 0
    with adsum.open(path=two.folder, node="n") as registry:
        for read in (lambda: registry.lookup("a"), lambda: registry["a"], lambda: registry.find(capability="x")):
            with pytest.raises(adsum.CorruptRegistry, match=f"{two.folder}.*remove the folder"):
                read()
        assert registry["b"].process_id.local_id == "b"


def test_a_row_of_the_wrong_length_is_an_error_too(two: Registry) -> None:
    """It is shorter than any number of an incarnation."""
    with Child(damage, two.folder, "name cut short") as child:
        assert child.wait() == 0
    with adsum.open(path=two.folder, node="n") as registry:
        for read in (lambda: registry.lookup("a"), registry.find):
            with pytest.raises(adsum.CorruptRegistry, match=f"{two.folder}.*remove the folder"):
                read()


def test_a_sound_registry_has_no_violation(either: Registry) -> None:
    """After all kinds of writes, deaths included, the audit reports no violation."""
    either.register_many([("a", {"capabilities": {"x", "y"}}), ("b", {"custom": {"deep": [{"a": None}]}})])
    either.update("a", capabilities={"y", "z"}, type="service", created_at=OLD)
    either.update_health("b", "unhealthy")
    with Agent(either.folder) as agent:
        agent.do("registry.register('c', capabilities={'x'})")
        either.register("d").hand_over(agent.pid)
        assert either.audit() == []
        agent.kill()
    either.unregister("a")
    assert either.audit() == []
