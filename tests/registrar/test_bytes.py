"""Bytes that are no messages, and messages that mean harm, cost only their sender."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import time
from pathlib import Path

import msgspec
import pytest

import adsum
from adsum import Limits, Registry
from adsum import _wire as wire
from adsum._os import identity
from adsum._validation import MetadataFields
from adsum.model import Owner, ProcessId

from ..support import registrar_pid
from .by_hand import Caller, hello, register, unregister, update
from .watched import Watched

pack = msgspec.msgpack.encode
ID = ["default", "by-hand", "target"]
ME = list(identity.current())
NUL_TEXT = b"\xa6\xff\xfe\xff\xfe\xff\xfe"


def body(tag: str, *fields: object) -> bytes:
    """A request with fields of any kind, in an envelope that is sound."""
    return pack([1, time.monotonic_ns() + 10**12, [tag, *fields]])


def registering(fields: bytes, *, owner: list[int] = ME) -> bytes:
    """A request to register with metadata spelled out as bytes."""
    return body("register", owner, [[ID, "FIELDS"]], False, False).replace(pack("FIELDS"), fields)


def custom(value: bytes) -> bytes:
    return registering(b"\x81" + pack("custom") + b"\x81\xa1a" + value)


POISON = {
    "nothing": b"",
    "no array": pack(1),
    "an empty array": pack([]),
    "an unknown request": body("explode"),
    "too few fields": pack(["register"]),
    "a tag that is no text": body("BADTEXT").replace(pack("BADTEXT"), NUL_TEXT),
    "an id that is no text": body("register", ME, [[["a", "b", "BADTEXT"], {}]], False, False).replace(
        pack("BADTEXT"), NUL_TEXT
    ),
    "a field name that is no text": registering(b"\x81" + NUL_TEXT + b"\xc0"),
    "custom text that is no text": custom(NUL_TEXT),
    "a negative owner": body("register", [-1, -1, -1], [[ID, {}]], False, False),
    "a negative start time": body("register", [os.getpid(), -1, 0], [[ID, {}]], False, False),
    "a huge pid": body("register", [2**63, 0, 0], [[ID, {}]], False, False),
    "pid zero": body("register", [0, 0, 0], [[ID, {}]], False, False),
    "a huge inode": body("register", [os.getpid(), 0, 2**64 - 1], [[ID, {}]], False, False),
    "deep lists": custom(b"\x91" * 100_000 + b"\xc0"),
    "deep maps": custom(b"\x81\xa1a" * 100_000 + b"\xc0"),
    "a map as a key": custom(b"\x81\x80\xc0"),
    "a list as a key": custom(b"\x81\x91\x01\xc0"),
    "a number as a key": custom(b"\x81\x01\xc0"),
    "an extension": custom(b"\xd4\x05\x05"),
    "an impossible time": custom(b"\xc7\x0c\xff" + b"\xff" * 12),
    "not a number": custom(b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"),
    "a list of four thousand million": custom(b"\xdd\xff\xff\xff\xff"),
    "text of four thousand million": custom(b"\xdb\xff\xff\xff\xff"),
    "a time before the first": registering(pack({"created_at": "0001-01-01T00:00:00+23:59"})),
    "a time after the last": registering(pack({"last_health_check": "9999-12-31T23:59:59-23:59"})),
    "an empty id": body("register", ME, [[["", "", ""], {}]], False, False),
    "an id with NUL": body("register", ME, [[["a", "b\0", "c"], {}]], False, False),
    "a huge id": body("register", ME, [[["a", "b", "c" * 100_000], {}]], False, False),
    "no items": body("register", ME, [], False, False),
    "no items to get": body("register", ME, [], False, True),
    "bound to no process": body("register", [-1, -1, -1], [[ID, {}]], True, False),
    "an update of nothing": body("update", ID, {}, None, True),
    "an update with a time before the first": body(
        "update", ["default", "by-hand", "stands"], {"created_at": "0001-01-01T00:00:00+23:59"}, None, False
    ),
    "a negative incarnation": body("unregister", ["default", "by-hand", "stands"], -1),
    "handed to nobody": body("hand_over", ["default", "by-hand", "stands"], [-1, -1, -1], 2),
    "a hello instead": pack(hello()),
}


@pytest.mark.parametrize("poison", POISON)
def test_a_poisonous_message(poison: str, registry: Registry, registry_folder: Path) -> None:
    """A request that is malformed or senseless is answered with an error or hung up on; the registrar lives on."""
    registry.register("first")
    pid = registrar_pid(registry_folder)
    with Caller(registry_folder) as caller:
        caller.introduce().send(register(7, "stands"))
        caller.reply()
        data = POISON[poison]
        caller.push(struct.pack("<I", len(data)) + data)
        with contextlib.suppress(ConnectionError):
            caller.reply()
    assert registry.update_health("first", "degraded").metadata.health_status == "degraded"
    assert registrar_pid(registry_folder) == pid, (registry_folder / "registrar.log").read_text()[-2000:]
    assert registry.audit() == []


@pytest.mark.parametrize(
    "owner", [Owner(-1, -1, -1), Owner(2**63, 0, 0), Owner(0, 0, 0)], ids=["negative", "huge", "zero"]
)
def test_a_poisonous_introduction(owner: Owner, registry: Registry, registry_folder: Path) -> None:
    """A client that claims to be an impossible process, and binds entries to its session, ends only itself."""
    registry.register("first")
    pid = registrar_pid(registry_folder)
    with Caller(registry_folder) as caller:
        caller.send(hello(owner=owner))
        with contextlib.suppress(ConnectionError):
            caller.frame()
            envelope = register(1, "bound")
            bound = msgspec.structs.replace(envelope.request, bound=True)
            caller.send(msgspec.structs.replace(envelope, request=bound))
            caller.reply()
    registry.update_health("first", "degraded")
    registry.update_health("first", "healthy")
    assert registrar_pid(registry_folder) == pid, (registry_folder / "registrar.log").read_text()[-2000:]


class Fuzzer:
    """Opens connections and misuses them, each time in one of many ways, all of it decided by a seed."""

    def __init__(self, folder: Path, seed: str) -> None:
        self.folder = folder
        self.chance = random.Random(seed)
        self.left_open: list[Caller] = []

    def attack(self) -> None:
        ways = [self.noise, self.mutants, self.mutants, self.mutants, self.lengths, self.half_frame, self.half_open]
        caller = Caller(self.folder)
        try:
            self.chance.choice(ways)(caller)
        except (ConnectionError, TimeoutError):
            # It has been hung up on, as it should be.
            pass
        if self.chance.random() < 0.2:
            self.left_open.append(caller)
        else:
            caller.close()
        while len(self.left_open) > 40:
            self.left_open.pop(self.chance.randrange(len(self.left_open))).close()

    def close(self) -> None:
        for caller in self.left_open:
            caller.close()

    def introduced(self, caller: Caller) -> Caller:
        return caller.introduce() if self.chance.random() < 0.8 else caller

    def noise(self, caller: Caller) -> None:
        self.introduced(caller).push(self.chance.randbytes(self.chance.randrange(1, 5000)))

    def mutants(self, caller: Caller) -> None:
        handshake = wire.frame(hello())
        if self.chance.random() < 0.2:
            caller.push(self.mutated(handshake))
            return
        caller.introduce().push(b"".join(self.mutated(wire.frame(self.request())) for _ in range(8)))

    def lengths(self, caller: Caller) -> None:
        length = self.chance.choice([wire.MAX_FRAME + 1, 2**31, 2**32 - 1, wire.MAX_FRAME, 0])
        self.introduced(caller).push(struct.pack("<I", length) + self.chance.randbytes(self.chance.randrange(2000)))

    def half_frame(self, caller: Caller) -> None:
        data = wire.frame(self.request())
        self.introduced(caller).push(data[: self.chance.randrange(1, len(data))])

    def half_open(self, caller: Caller) -> None:
        self.introduced(caller).push(wire.frame(self.request()))
        caller.sock.shutdown(self.chance.choice([socket.SHUT_WR, socket.SHUT_RD, socket.SHUT_RDWR]))

    def request(self) -> wire.Envelope:
        number, name = self.chance.randrange(100), f"fuzz-{self.chance.randrange(50)}"
        fields = MetadataFields(
            capabilities=frozenset({"a", "b"}), resources={"cpu": 2}, custom={"list": [1, "two", {"three": 3.0}]}
        )
        process_id = ProcessId("default", "by-hand", name)
        made, owner = register(number, name), identity.current()
        bound = wire.Register(owner=owner, items=[(process_id, fields)], bound=True)
        or_get = wire.Register(owner=owner, items=[(process_id, MetadataFields())], or_get=True)
        hand_over = wire.HandOver(process_id=process_id, owner=owner, if_incarnation=1)
        requests = [
            made,
            *(msgspec.structs.replace(made, request=request) for request in (bound, or_get, hand_over)),
            update(number, name, fields),
            unregister(number, name),
        ]
        return self.chance.choice(requests)

    def mutated(self, frame: bytes) -> bytes:
        """The frame with a few changes, mostly under a length that is right again."""
        content = bytearray(frame[4:])
        for _ in range(self.chance.randrange(4)):
            at = self.chance.randrange(len(content))
            match self.chance.randrange(5):
                case 0:
                    content[at] ^= 1 << self.chance.randrange(8)
                case 1:
                    content[at] = self.chance.choice([0x80, 0x90, 0xA0, 0xC0, 0xC1, 0xC7, 0xCF, 0xD3, 0xDD, 0xDF, 0xFF])
                case 2:
                    content[at:at] = self.chance.randbytes(self.chance.randrange(1, 9))
                case 3:
                    del content[at : at + self.chance.randrange(1, 9)]
                case _:
                    content[at : at + 9] = b"\xd3" + self.chance.randbytes(8)
            content = content or bytearray(1)
        length = len(content) if self.chance.random() < 0.95 else self.chance.randrange(2 * len(content))
        return struct.pack("<I", length) + content


def fuzz(folder: Path, seconds: float) -> None:
    seed = os.environ.get("ADSUM_SEED") or str(random.SystemRandom().randrange(10**6))
    print(f"ADSUM_SEED={seed}")
    # Some mutants are sound requests; what they register must not look like a leak.
    adsum.open(path=folder, timeout=10, limits=Limits(max_entries=500)).close()
    with contextlib.closing(Fuzzer(folder, seed)) as fuzzer:
        with Watched(folder) as watched:
            attacks, began = 0, time.monotonic()
            while time.monotonic() < began + seconds:
                fuzzer.attack()
                attacks += 1
                if time.monotonic() < began + seconds / 4:
                    watched.settled()
                assert registrar_pid(folder) == watched.pid, (folder / "registrar.log").read_text()[-2000:]
            assert watched.served > seconds
        print(f"{attacks} attacks, {watched.served} calls served, the longest in {watched.longest:.3f} s")
        assert attacks > 20 * seconds


def test_a_fuzzer_on_the_socket(registry_folder: Path) -> None:
    """Seconds of noise, mutated messages and misused connections neither end nor swell nor block the registrar."""
    fuzz(registry_folder, 5.0)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_fuzzer_on_the_socket_for_a_minute(registry_folder: Path) -> None:
    """The same for more than a minute."""
    fuzz(registry_folder, 75.0)


def test_the_log_of_an_attack_is_bounded_and_private(registry: Registry, registry_folder: Path) -> None:
    """However many clients are dropped, the log says so, is not rotated for it, and only its owner may read it."""
    registry.register("first")
    for _ in range(8000):
        with Caller(registry_folder) as caller:
            caller.push(b"\xff" * 8)
            # A client that hangs up first is not logged.
            with pytest.raises(ConnectionResetError):
                caller.frame()
    (log,) = registry_folder.glob("registrar.log*")
    assert "client dropped: no hello yet, its frame is no message" in log.read_text()
    assert log.stat().st_size < 60 * 1024
    assert all(log.stat().st_mode & 0o077 == 0 for log in registry_folder.iterdir())
