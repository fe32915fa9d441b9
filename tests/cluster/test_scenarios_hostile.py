"""A host of the cluster writes what no adsum writes: the others take what is valid, and nothing of it does any harm."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence

import msgspec
import pytest

from adsum import ProcessId
from adsum._bridge.records import HostRecord, NameRecord, PublishedEntry, encode
from adsum._etcd.address import parse
from adsum._etcd.client import EtcdClient
from adsum._store.layout import key_of
from adsum.model import EPOCH, Entry, Metadata
from tests.support.children import ROOT
from tests.support.waiting import eventually

from .host_processes import SOON, Host, Hosts

EVIL = "evil"
ESCAPES = "\x1b[2J\x1b]0;taken\x07\x9b31m"
BIG = 1_200_000


def entry(name: str, **fields: object) -> Entry:
    """An entry as a hostile host has made it: with fields that nothing has checked."""
    return Entry(ProcessId("default", EVIL, name), 4711, 1, 2, 1, EPOCH, EPOCH, 1, Metadata(**fields))  # type: ignore[arg-type]


def key(name: str) -> bytes:
    return f"e/{EVIL}/".encode() + key_of(ProcessId("default", EVIL, name))


def nested(depth: int) -> bytes:
    """A msgpack value: so many arrays inside each other."""
    return b"\x91" * depth + b"\xc0"


VALUES: dict[str, tuple[bytes, bytes]] = {
    "no msgpack": (key("junk"), b"\xc1\xff\x00"),
    "empty": (key("empty"), b""),
    "nested for ever": (key("nested"), nested(200_000)),
    "another kind": (key("kind"), encode({"entry": 1})),
    "an id that is none": (f"e/{EVIL}/default\0{EVIL}".encode(), encode(PublishedEntry(entry("x"), 1))),
    "an id without a part": (f"e/{EVIL}/default\0\0x".encode(), encode(PublishedEntry(entry("x"), 1))),
    "an id that is no text": (
        f"e/{EVIL}/default\0{EVIL}\0".encode() + b"\xff\xfe",
        encode(PublishedEntry(entry("x"), 1)),
    ),
    "an id that is too long": (key("y" * 3000), encode(PublishedEntry(entry("y" * 3000), 1))),
    "the id of another": (key("one"), encode(PublishedEntry(entry("two"), 1))),
    "a member of another host": (
        f"e/{EVIL}/default\0a\0local".encode(),
        encode(PublishedEntry(msgspec.structs.replace(entry("x"), process_id=ProcessId("default", "a", "local")), 1)),
    ),
    "large metadata": (key("large"), encode(PublishedEntry(entry("large", custom={"x": "x" * BIG}), 1))),
    "a line with escapes": (key("doing"), encode(PublishedEntry(entry("doing", doing=ESCAPES), 1))),
    "too many names": (
        key("names"),
        encode(PublishedEntry(entry("names", capabilities=frozenset(map(str, range(999)))), 1)),
    ),
    "gauges that are none": (key("gauges"), encode(PublishedEntry(entry("gauges", gauges={"": float("nan")}), 1))),
    "an impossible heartbeat": (key("beat"), encode(PublishedEntry(entry("beat", heartbeat=-5.0), 1))),
    "escapes in an id": (key(f"id{ESCAPES}"), encode(PublishedEntry(entry(f"id{ESCAPES}"), 1))),
    "escapes in texts": (
        key("texts"),
        encode(
            PublishedEntry(
                entry(
                    "texts",
                    endpoint=f"tcp://{ESCAPES}",
                    capabilities=frozenset({f"cap{ESCAPES}"}),
                    description=f"says{ESCAPES}",
                    custom={f"k{ESCAPES}": ESCAPES},
                ),
                1,
            )
        ),
    ),
    "a node with escapes": (f"o/{ESCAPES}".encode(), EVIL.encode()),
    "a node that is none": (b"o/\xff\x00", EVIL.encode()),
    "a host that is none": (b"o/x", b"\xff\x1b[2J"),
    "an unknown kind": (b"z/whatever", b"\x00"),
    "a host with an impossible name": (f"h/{ESCAPES}".encode(), b""),
    "a host that cannot be read": (b"h/unreadable", b"\xc1"),
    "a fence that cannot be read": (b"w/unreadable", nested(100_000)),
    "a name without a holder": (b"n/default\0free", b"\xc1"),
    "a name with a strange holder": (b"n/default\0odd", encode(NameRecord(EVIL, b"\xff", b""))),
    "ends that cannot be read": (f"d/{EVIL}".encode(), b"\xc1"),
}


async def write_all(address: str) -> None:
    prefix = f"/adsum/{parse(address).name}/".encode()
    record = HostRecord(b"boot", b"place", b"nonce", 3.0, ESCAPES)
    async with EtcdClient(parse(address), timeout=10) as client:
        fence = await client.put(prefix + f"h/{EVIL}".encode(), encode(record))
        for bad, value in VALUES.values():
            await client.put(prefix + bad, value)
        await client.put(
            prefix + key("good"), encode(PublishedEntry(entry("good", capabilities=frozenset({"good"})), 1))
        )
        await client.put(prefix + f"w/{EVIL}".encode(), encode(fence))


def commands(host: Host) -> Sequence[list[str]]:
    """What shows members and hosts."""
    all_of_them = [
        ["ls"],
        ["ls", "--json"],
        ["show", f"default/{EVIL}/texts"],
        ["show", f"default/{EVIL}/id{ESCAPES}"],
        ["top"],
        ["top", "--json"],
        ["hosts"],
        ["hosts", "--json"],
        ["departures"],
        ["namespaces"],
        ["doctor"],
    ]
    return [[*command, "--path", str(host.folder)] for command in all_of_them]


def run(command: Sequence[str]) -> str:
    """All that a command prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "adsum.cli", *command], capture_output=True, timeout=60, env=environment, check=False
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.stdout.decode() + done.stderr.decode()


@pytest.mark.parametrize("loads", [False, True], ids=["watched", "loaded"])
def test_what_a_hostile_host_says_is_taken_apart(hosts: Hosts, *, loads: bool) -> None:
    """Bridges and registrars go on; what breaks the rules is left out, alone; what others say arrives; nothing that the
    commands print controls a terminal."""
    a, b = hosts.add("a", starts=not loads), hosts.add("b")
    local = a.registry.register("local").entry
    asyncio.run(write_all(hosts.address))
    if loads:
        a.bridge.start()
        a.bridge.wait_until_publishing()
    pids = [host.bridge.pid for host in (a, b) if not (loads and host is a)]
    good = eventually(lambda: a.registry.find(capability="good"), SOON)
    assert [one.process_id.local_id for one in good] == ["good"]
    found = {one.process_id.local_id for one in a.registry.find() if one.host == EVIL}
    assert found == {"good", "texts", f"id{ESCAPES}"}, "what a registration could have"
    assert a.registry.lookup("local") == local
    b.registry.register("later")
    a.sees(b, "later")
    b.sees(a, "local")
    assert [host.bridge.pid for host in (a, b) if not (loads and host is a)] == pids
    assert a.registry.audit() == []
    if loads:
        for command in commands(a):
            said = run(command)
            assert "\x1b" not in said, command
            assert "\x9b" not in said, command
            assert "\x07" not in said, command
    log = (a.folder / "registrar.log").read_text() + a.bridge.log()
    assert "\x1b" not in log
    held = a.registry.register("other", everywhere=True)
    assert held.fencing_token
