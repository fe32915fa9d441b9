"""Opening: where the registry is, which namespace and node it uses, and what opening and reading do not change."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import adsum
from adsum import InvalidName, InvalidProcessId, NotRegistered, PermissionDenied, ProcessId, Registry
from tests.support import Opener, end_registrar, registrar_pid


def test_a_named_registry_is_below_adsum_dir(
    opener: Opener, monkeypatch: pytest.MonkeyPatch, registry_folder: Path
) -> None:
    """`$ADSUM_DIR` is the base folder of named registries."""
    monkeypatch.setenv("ADSUM_DIR", str(registry_folder))
    assert opener(path=None).folder == registry_folder / "default"
    assert opener(path=None, name="team").folder == registry_folder / "team"


def test_a_named_registry_is_in_shared_memory(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `$ADSUM_DIR` the base folder is this user's folder in shared memory; an empty variable counts as
    unset."""
    monkeypatch.setenv("ADSUM_DIR", "")
    assert opener(path=None, name="never-made").folder == Path(f"/dev/shm/adsum-{os.geteuid()}/never-made")


def test_a_path_counts_before_the_environment(
    opener: Opener, monkeypatch: pytest.MonkeyPatch, registry_folder: Path
) -> None:
    """`path` is the folder itself, whatever the environment says."""
    monkeypatch.setenv("ADSUM_DIR", "/elsewhere")
    assert opener(path=str(registry_folder)).folder == registry_folder


def test_a_relative_path_is_taken_from_here(
    opener: Opener, monkeypatch: pytest.MonkeyPatch, registry_folder: Path
) -> None:
    """A relative path is resolved at opening, so a later change of directory has no effect."""
    monkeypatch.chdir(registry_folder.parent)
    opened = opener(path="registry")
    monkeypatch.chdir("/")
    opened.register("a")
    assert (registry_folder / "page").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\0b", "x" * 256, "\ud800"])
def test_an_impossible_name_is_refused(opener: Opener, name: str) -> None:
    """A name must be a plain folder name; the error names `path` as the way to another place."""
    with pytest.raises(adsum.AdsumError, match="path=") as caught:
        opener(path=None, name=name)
    assert isinstance(caught.value, ValueError)
    assert caught.value.reason == "invalid_name"


@pytest.mark.parametrize("cluster", [5, 0, False, b"", b"etcd://a/prod", ["etcd://a/prod"], object()])
def test_a_cluster_that_is_no_string_is_refused(opener: Opener, cluster: object) -> None:
    """With an example of an address; nothing is made."""
    with pytest.raises(adsum.InvalidClusterAddress, match=r"string such as etcd://10\.0\.0\.1:2379") as caught:
        opener(cluster=cluster)
    assert isinstance(caught.value, ValueError)


def test_the_first_write_makes_a_private_folder(opener: Opener, registry_folder: Path) -> None:
    """The first write makes the folder, and its base if needed, accessible to this user only, whatever the umask."""
    folder = registry_folder / "name"
    before = os.umask(0)
    try:
        opener(path=folder).register("a")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(registry_folder.stat().st_mode) == 0o700


def test_an_open_folder_is_refused(opener: Opener, registry_folder: Path) -> None:
    """A folder that other users may enter is refused, and the error gives the command that closes it."""
    registry_folder.mkdir(mode=0o755)
    with pytest.raises(PermissionDenied, match="chmod 700") as caught:
        opener()
    assert isinstance(caught.value, PermissionError)


def test_a_file_in_the_folders_place_is_refused(opener: Opener, registry_folder: Path) -> None:
    """A path that is not a folder is refused, and the error advises to remove it or to use another path."""
    registry_folder.touch()
    with pytest.raises(PermissionDenied, match="is no folder; give another path"):
        opener()


def test_the_node_is_the_host(opener: Opener) -> None:
    """The node of a registry is the name of the host on which it was made, and the namespace is ``default``."""
    opened = opener()
    assert (opened.namespace, opened.node) == ("default", socket.gethostname())
    opened.register("a")
    assert opened["a"].process_id == ProcessId("default", socket.gethostname(), "a")
    assert (opened.namespace, opened.node) == ("default", socket.gethostname())


def test_the_node_comes_from_the_environment(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """`$ADSUM_NODE` sets the node; `node=` has priority over it."""
    monkeypatch.setenv("ADSUM_NODE", "rack-7")
    assert opener().node == "rack-7"
    assert opener(node="here").node == "here"


@pytest.mark.parametrize("wrong", ["", "a\0b", "\ud800", "x" * 480, 5])
@pytest.mark.parametrize("part", ["namespace", "node"])
def test_an_impossible_namespace_or_node_is_refused(opener: Opener, part: str, wrong: object) -> None:
    """Opening validates the namespace and the node, which are parts of every id."""
    with pytest.raises(InvalidProcessId):
        opener(**{part: wrong})


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), "5", True])
def test_an_impossible_timeout_is_refused(opener: Opener, timeout: object) -> None:
    """A timeout must be a number of seconds; opening and every call refuse anything else."""
    with pytest.raises(ValueError, match="give seconds"):
        opener(timeout=timeout)
    with pytest.raises(ValueError, match="give seconds"):
        opener().register("a", timeout=timeout)  # type: ignore[arg-type]


def test_opening_and_reading_start_nothing(either: Registry, registry_folder: Path) -> None:
    """A client that only reads makes no folder and starts no registrar; an absent registry reads as an empty one."""
    assert either.lookup("a") is None
    assert either.get(ProcessId("default", "node", "a")) is None
    assert ProcessId("default", "node", "a") not in either
    assert (len(either), list(either), either.find(), either.list_all(), either.count(type="agent")) == (
        0,
        [],
        [],
        [],
        0,
    )
    assert either.choose() is None
    assert (either.audit(), either.departures()) == ([], [])
    stats = either.stats()
    assert (stats.entries, stats.owners, stats.revision, stats.registrar_pid) == (0, 0, 0, None)
    assert not registry_folder.exists()


def test_reads_go_on_without_a_registrar(opener: Opener) -> None:
    """Entries are found when no registrar runs, and finding them starts none."""
    opened = opener()
    opened.register("a", capabilities={"x"})
    end_registrar(opened.folder)
    for registry in (opened, opener()):
        entry = registry.lookup("a")
        assert entry is not None
        assert registry.find(capability="x") == [entry]
        assert registry.stats().registrar_pid is None
    assert registrar_pid(opened.folder) is None


def test_a_reader_finds_a_registry_that_is_made_later(opener: Opener) -> None:
    """A client that read a registry before it existed finds what is registered later."""
    reader = opener()
    assert reader.lookup("a") is None
    opener().register("a")
    assert reader.lookup("a") is not None


def test_changing_nothing_makes_nothing(either: Registry, registry_folder: Path) -> None:
    """A call that would change or remove an entry makes no registry where there is none: `unregister` gives False, the
    others raise `NotRegistered`, whether the id is a string or whole."""
    for id in ("a", ProcessId("default", "node", "a")):
        assert not either.unregister(id)
        with pytest.raises(NotRegistered, match="no registry"):
            either.update(id, endpoint="x")
        with pytest.raises(NotRegistered, match="no registry"):
            either.update_health(id, "degraded")
        with pytest.raises(NotRegistered, match="no registry"):
            either.heartbeat(id)
    assert not registry_folder.exists()


def test_watching_and_waiting_make_nothing(either: Registry, registry_folder: Path) -> None:
    """A watch, and a call that waits, make no registry where there is none."""
    with pytest.raises(adsum.Timeout):
        either.wait_for("a", 0.2)
    with adsum.open(path=registry_folder) as registry, registry.watch() as watch, pytest.raises(adsum.Timeout):
        watch.next(0.2)
    assert not registry_folder.exists()


# What a call on an absent registry returns, or raises.
ABSENT: list[tuple[str, Callable[[Registry], object], object]] = [
    ("lookup", lambda registry: registry.lookup("a"), None),
    ("get", lambda registry: registry.get("a"), None),
    ("in", lambda registry: "a" in registry, False),
    ("[]", lambda registry: registry["a"], NotRegistered),
    ("iter", list, []),
    ("items", lambda registry: list(registry.items()), []),
    ("values", lambda registry: list(registry.values()), []),
    ("find", lambda registry: registry.find(namespace=adsum.ALL), []),
    ("find ordered", lambda registry: registry.find(order_by="load", limit=1), []),
    ("list_all", lambda registry: registry.list_all(), []),
    ("count", lambda registry: registry.count(), 0),
    ("choose", lambda registry: registry.choose(by="least", key="load"), None),
    ("gauge", lambda registry: registry.gauge("a", "load"), NotRegistered),
    ("set_gauge", lambda registry: registry.set_gauge("a", "load", 1), NotRegistered),
    ("usage", lambda registry: registry.usage("a"), NotRegistered),
    ("stats", lambda registry: registry.stats().entries, 0),
    ("audit", lambda registry: registry.audit(), []),
    ("hosts", lambda registry: registry.hosts(), []),
    ("departures", lambda registry: registry.departures(3), []),
    ("limits", lambda registry: registry.limits, adsum.Limits()),
    ("node", lambda registry: bool(registry.node), True),
    ("watch", lambda registry: registry.watch().snapshot, []),
    ("follow", lambda registry: len(registry.follow()), 0),
    ("watch next", lambda registry: registry.watch().next(timeout=0.1), adsum.Timeout),
    ("wait_for", lambda registry: registry.wait_for("a", 0.1), adsum.Timeout),
    ("wait_for a team", lambda registry: registry.wait_for(count=2, timeout=0.1), adsum.Timeout),
    ("wait_until_gone", lambda registry: registry.wait_until_gone("a", 0.1), None),
    ("update", lambda registry: registry.update("a", endpoint="x"), NotRegistered),
    ("update merging", lambda registry: registry.update("a", custom={"b": 1}, merge=True), NotRegistered),
    ("update_many", lambda registry: registry.update_many([("a", {"endpoint": "x"})]), NotRegistered),
    ("update_health", lambda registry: registry.update_health("a", "healthy"), NotRegistered),
    ("heartbeat", lambda registry: registry.heartbeat("a"), NotRegistered),
    ("unregister", lambda registry: registry.unregister("a"), False),
    ("unregister_many", lambda registry: registry.unregister_many(["a"]), [False]),
    ("register owned", lambda registry: registry.register("a", owned_by="b"), NotRegistered),
    ("claim an id", lambda registry: registry.claim("a", timeout=0.1), NotRegistered),
    ("claim", lambda registry: registry.claim(capability="x", timeout=0.1), adsum.Timeout),
    ("try to claim", lambda registry: registry.claim(capability="x", timeout=0), adsum.Timeout),
]


@pytest.mark.parametrize(("call", "expected"), [row[1:] for row in ABSENT], ids=[row[0] for row in ABSENT])
def test_only_a_registration_makes_a_registry(
    either: Registry, registry_folder: Path, call: Callable[[Registry], object], expected: object
) -> None:
    """No read, watch, wait, claim, change or removal makes a registry where there is none, or starts a registrar."""
    if isinstance(expected, type):
        with pytest.raises(expected):
            call(either)
    else:
        assert call(either) == expected
    either.close()
    assert not registry_folder.exists()


def test_a_claim_waits_for_the_registry(either: Registry, registry_folder: Path) -> None:
    """A claim that waits before there is a registry gets a slot of a member that registers later."""
    with adsum.open(path=registry_folder, timeout=10) as other:
        made = threading.Timer(0.2, other.register, ("a",), {"capabilities": {"x"}})
        made.start()
        with either.claim(capability="x", timeout=30) as claim:
            assert claim.process_id.local_id == "a"
        made.join()


def test_a_watch_finds_a_registry_that_is_made_later(registry_folder: Path) -> None:
    """A watch that began before there was a registry reports the first change of the registry that is made later."""
    with adsum.open(path=registry_folder, timeout=10) as registry, registry.watch() as watch:
        with pytest.raises(adsum.Timeout):
            watch.next(0.1)
        registry.register("a")
        event = watch.next(10)
    assert (event.kind, event.revision, event.entry and event.entry.process_id.local_id) == ("registered", 1, "a")


def test_limits_of_an_existing_registry(opener: Opener) -> None:
    """Limits that differ from those of the registry have no effect, and a warning says so; `limits` are the registry's
    own in every object."""
    own = adsum.Limits(max_entries=7, registration_timeout=5.0)
    first = opener(limits=own)
    reader = opener()
    first.register("a")
    with pytest.warns(UserWarning, match="registration_timeout, max_entries") as caught:
        second = opener(limits=adsum.Limits(max_entries=8))
    assert caught[0].filename.endswith(("conftest.py", "either.py"))
    assert first.limits == reader.limits == second.limits == own
    opener(limits=own)


def test_a_folder_with_other_things_is_refused(opener: Opener, registry_folder: Path) -> None:
    """A folder that holds other things and no registry is refused by every way to open it, and is not touched."""
    registry_folder.mkdir(mode=0o700)
    (registry_folder / "tables.1").mkdir()
    (registry_folder / "notes.txt").write_text("mine")
    with pytest.raises(InvalidName, match=r"notes\.txt for one"):
        opener()
    with pytest.raises(InvalidName):
        adsum.admin.start_registrar(registry_folder, adsum.Limits())
    assert sorted(os.listdir(registry_folder)) == ["notes.txt", "tables.1"]


def test_a_folder_that_gets_other_things_later(opener: Opener, registry_folder: Path) -> None:
    """A registry's folder stays usable when another file comes into it."""
    opened = opener()
    opened.register("a")
    (registry_folder / "notes.txt").write_text("mine")
    end_registrar(registry_folder)
    opened.register("b")
    assert len(opener()) == 2


def test_the_three_lines_of_the_interface(monkeypatch: pytest.MonkeyPatch, registry_folder: Path) -> None:
    """Open, register, look up and find work with no configuration."""
    monkeypatch.setenv("ADSUM_DIR", str(registry_folder.parent))
    with adsum.open() as registry:
        registry.register("planner-1", capabilities={"planning"}, endpoint="http://127.0.0.1:9001", timeout=10)
        entry = registry.lookup("planner-1")
        team = registry.find(capability="planning", health_status="healthy")
    assert entry is not None
    assert entry.metadata.endpoint == "http://127.0.0.1:9001"
    assert team == [entry]


def test_on_lost_is_a_function(opener: Opener) -> None:
    """What cannot be called is refused at once, not when the folder is lost."""
    with pytest.raises(TypeError, match="give a function of the lost entries"):
        opener(on_lost=False)
