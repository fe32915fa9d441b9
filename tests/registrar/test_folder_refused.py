"""A folder that cannot be trusted or written is refused with its own error."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import adsum
from adsum import PermissionDenied, Registry, VersionMismatch, WrongNamespace
from adsum import _wire as wire
from adsum._client.launch import Launch
from adsum._client.spawn import start_registrar
from adsum._store import page_layout
from adsum._store.layout import FORMAT

from ..support import Child, eventually, kill_registrar, registrar_pid
from ..support.children import ROOT
from .by_hand import Caller, hello
from .mounts import read_only

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make folders of other users")


def write_page(folder: Path, word: int, value: bytes) -> None:
    """Overwrite words of the page's header in its file."""
    with open(folder / "page", "r+b") as file:
        file.seek(8 * word)
        file.write(value)


@as_root
def test_a_folder_of_another_user(registry_folder: Path) -> None:
    """A folder that belongs to another user is refused, even to root."""
    registry_folder.mkdir(mode=0o700)
    os.chown(registry_folder, 65534, 65534)
    with pytest.raises(PermissionDenied, match="belongs to user 65534"):
        adsum.open(path=registry_folder)


@as_root
def test_a_folder_given_away_later(registry: Registry, registry_folder: Path) -> None:
    """A folder that changes its owner is refused from then on."""
    registry.register("known")
    os.chown(registry_folder, 65534, 65534)
    with pytest.raises(PermissionDenied, match="belongs to user 65534"):
        adsum.open(path=registry_folder)


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o711])
def test_a_folder_open_to_others(mode: int, registry_folder: Path) -> None:
    """A folder that others can enter is refused, with the command that closes it."""
    registry_folder.mkdir()
    registry_folder.chmod(mode)
    with pytest.raises(PermissionDenied, match=r"chmod 700"):
        adsum.open(path=registry_folder)


def test_a_link_to_a_folder(registry: Registry, registry_folder: Path) -> None:
    """A link to a private folder leads to the same registry."""
    registry.register("known")
    link = registry_folder.with_name("link")
    link.symlink_to(registry_folder)
    with adsum.open(path=link, timeout=10) as linked:
        assert linked.lookup("known")
        linked.register("new")
        assert registry.lookup("new")
    assert registrar_pid(link) == registrar_pid(registry_folder)


@as_root
def test_a_link_to_a_folder_of_another_user(registry_folder: Path) -> None:
    """A link is judged by what it leads to."""
    elsewhere = registry_folder.with_name("elsewhere")
    elsewhere.mkdir(mode=0o700)
    os.chown(elsewhere, 65534, 65534)
    registry_folder.symlink_to(elsewhere)
    with pytest.raises(PermissionDenied):
        adsum.open(path=registry_folder)


def test_a_dangling_link(registry_folder: Path) -> None:
    """A link that leads nowhere is an error that names it."""
    registry_folder.symlink_to(registry_folder.with_name("nowhere"))
    with pytest.raises(PermissionDenied, match=str(registry_folder)):
        adsum.open(path=registry_folder)


def test_a_file_in_place_of_the_folder(registry_folder: Path) -> None:
    """A file where the folder should be is an error that names it."""
    registry_folder.touch()
    with pytest.raises(PermissionDenied, match=str(registry_folder)):
        adsum.open(path=registry_folder)


@pytest.mark.parametrize("dead", [True, False], ids=["no registrar", "registrar"])
def test_a_read_only_folder(dead: bool, registry: Registry, registry_folder: Path) -> None:
    """In a folder that cannot be written reads go on, and a write goes through a living registrar or says why not."""
    registry.register("known")
    if dead:
        kill_registrar(registry_folder)
    with read_only(registry_folder), Child(use_read_only, registry_folder) as child:
        child.expect("True")
        assert child.line() in (("permission_denied", "registrar_unavailable") if dead else ("ok",))


def use_read_only(folder: str) -> None:
    """In a child: look, then write."""
    with adsum.open(path=folder, timeout=5) as registry:
        print(registry.lookup("known") is not None)
        try:
            registry.update_health("known", "degraded")
        except adsum.AdsumError as error:
            print(error.reason)
        else:
            print("ok" if registry["known"].metadata.health_status == "degraded" else "not seen")


def test_no_folder_can_be_made(registry_folder: Path) -> None:
    """Where the folder can neither be found nor made, reads find nothing and a write says why."""
    with read_only(registry_folder.parent), adsum.open(path=registry_folder, timeout=5) as registry:
        assert registry.lookup("known") is None
        with pytest.raises(PermissionDenied, match=str(registry_folder)):
            registry.register("new")


def test_a_registry_of_another_boot(registry: Registry, registry_folder: Path) -> None:
    """What an earlier boot left is no registry: reads find nothing, and the first write starts an empty one."""
    registry.register("known")
    registry.close()
    kill_registrar(registry_folder)
    write_page(registry_folder, page_layout.BOOT, bytes(16))
    with adsum.open(path=registry_folder, timeout=10) as later:
        assert later.find() == []
        assert later.register("new").entry.revision == 1
        assert [entry.process_id.local_id for entry in later.find()] == ["new"]
        assert later.audit() == []


@pytest.mark.parametrize("dead", [True, False], ids=["no registrar", "registrar"])
@pytest.mark.parametrize(
    ("word", "value", "error"),
    [(page_layout.FORMAT, FORMAT + 1, VersionMismatch), (page_layout.PID_NAMESPACE, 1, WrongNamespace)],
    ids=["other format", "other PID namespace"],
)
def test_a_page_of_another_kind(
    word: int, value: int, error: type[adsum.AdsumError], dead: bool, registry: Registry, registry_folder: Path
) -> None:
    """A registry of another format, or of another PID namespace, cannot be opened."""
    registry.register("known")
    if dead:
        kill_registrar(registry_folder)
    write_page(registry_folder, word, value.to_bytes(8, "little"))
    with pytest.raises(error, match=str(registry_folder)):
        adsum.open(path=registry_folder)


@pytest.mark.parametrize(
    ("word", "value", "error"),
    [(page_layout.FORMAT, FORMAT + 1, VersionMismatch), (page_layout.PID_NAMESPACE, 1, WrongNamespace)],
    ids=["other format", "other PID namespace"],
)
def test_no_registrar_serves_a_page_of_another_kind(
    word: int, value: int, error: type[adsum.AdsumError], registry: Registry, registry_folder: Path
) -> None:
    """A registrar leaves tables of another kind alone, and reports so to the process that started it."""
    registry.register("known")
    kill_registrar(registry_folder)
    write_page(registry_folder, word, value.to_bytes(8, "little"))
    before = sorted(path.name for path in registry_folder.rglob("*"))
    with pytest.raises(error, match=str(registry_folder)):
        start_registrar(registry_folder, Launch(adsum.Limits()), time.monotonic() + 10)
    assert registrar_pid(registry_folder) is None
    assert sorted(path.name for path in registry_folder.rglob("*")) == before


def test_a_registry_of_a_pid_namespace_that_is_gone(registry: Registry, registry_folder: Path) -> None:
    """A registry of another PID namespace that no process uses any more is no registry: reads find nothing, and the
    first write makes it anew."""
    registry.register("known")
    registry.close()
    kill_registrar(registry_folder)
    write_page(registry_folder, page_layout.PID_NAMESPACE, (1).to_bytes(8, "little"))
    with adsum.open(path=registry_folder, timeout=10) as later:
        assert later.find() == []
        assert later.register("new").entry.revision == 1
        assert later.audit() == []


def test_a_caller_of_another_protocol(registry: Registry, registry_folder: Path) -> None:
    """A client that speaks another version of the protocol gets an error that says so, and is dropped."""
    registry.register("known")
    with Caller(registry_folder) as caller:
        caller.send(hello(version=wire.OLDEST - 1))
        answer = caller.reply()
        assert isinstance(answer, wire.Failed)
        assert answer.reason == "version_mismatch"
        eventually(caller.is_dropped)


def test_a_caller_of_another_pid_namespace(registry: Registry, registry_folder: Path) -> None:
    """A client in another PID namespace gets an error that says so, and is dropped."""
    registry.register("known")
    with Caller(registry_folder) as caller:
        caller.send(hello(pid_namespace=1))
        answer = caller.reply()
        assert isinstance(answer, wire.Failed)
        assert answer.reason == "wrong_namespace"
        eventually(caller.is_dropped)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (wire.frame(wire.Welcome(wire.OLDEST - 1, 0.05)), "version_mismatch"),
        (wire.frame(wire.failure(0, VersionMismatch("another version"))), "version_mismatch"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "corrupt_registry"),
        (wire.frame("hello"), "corrupt_registry"),
    ],
    ids=["older", "newer that refuses", "a web server", "something else"],
)
def test_what_answers_is_no_registrar_of_this_version(answer: bytes, reason: str, registry_folder: Path) -> None:
    """A caller that reaches another registrar than it can speak to says which it met, and does not wait."""
    registry_folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(registry_folder / "socket"))
        listener.listen()

        def answer_one() -> None:
            caller, _ = listener.accept()
            with caller:
                caller.recv(65536)
                caller.sendall(answer)
                caller.recv(65536)

        thread = threading.Thread(target=answer_one)
        thread.start()
        with adsum.open(path=registry_folder, timeout=5) as registry, pytest.raises(adsum.AdsumError) as raised:
            registry.register("new")
        thread.join()
    assert raised.value.reason == reason


def use_elsewhere(folder: str) -> None:
    """In a child: what opening gives, by reason."""
    try:
        adsum.open(path=folder).close()
        print("ok")
    except adsum.AdsumError as error:
        print(error.reason)


@pytest.mark.parametrize("dead", [True, False], ids=["no registrar", "registrar"])
def test_another_pid_namespace(dead: bool, registry: Registry, registry_folder: Path) -> None:
    """A process in another PID namespace, where numbers name other processes, may not even read."""
    registry.register("known")
    if dead:
        kill_registrar(registry_folder)
    code = f"from {use_elsewhere.__module__} import use_elsewhere; use_elsewhere({str(registry_folder)!r})"
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=60,
    )
    if done.stderr.startswith("unshare"):
        pytest.skip(f"no PID namespace to be had: {done.stderr.strip()}")
    assert done.stdout.split() == ["wrong_namespace"], done.stderr
    registry.register("new")
    assert registry.audit() == []
