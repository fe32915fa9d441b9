"""The exit codes of every command: 0 done, 1 no or not found, 2 usage, 3 registry error."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

from adsum import Registry
from adsum.cli import main
from adsum.cli.app import build

from .command import Answer, Command

Here: TypeAlias = Callable[..., Answer]


class Row(NamedTuple):
    """A command line, and its exit codes: where there is no registry; in one that has a member, but none with the id or
    capability "absent"; and where the registry cannot be used. None where it would go on until it is interrupted."""

    typed: str
    no_registry: int | None
    not_found: int | None
    error: int = 3


# These make a registry, and so are done where there was none.
MAKERS = ("register", "registrar", "run")
TABLE = (
    Row("ls", 1, 0),
    Row("ls --capability absent --json", 1, 0),
    Row("ls --sort absent", 1, 0),
    Row("show absent", 1, 1),
    Row("namespaces", 1, 0),
    Row("departures --json", 1, 0),
    Row("watch", None, None),
    Row("watch absent --json", None, None),
    Row("wait absent --timeout 0.1", 1, 1),
    Row("wait --capability absent --timeout 0.1 --json", 1, 1),
    # What is not registered is gone already.
    Row("wait --gone absent", 0, 0),
    Row("top", 1, 0),
    Row("top --json", 1, 0),
    Row("run absent -- true", 0, 0),
    Row("claim absent --timeout 1 -- true", 1, 1),
    Row("claim --capability absent --timeout 0.1 -- true", 1, 1),
    # The process 1 exists everywhere.
    Row("register absent 1", 0, 0),
    Row("health absent healthy", 1, 1),
    Row("update absent --add custom.n=1", 1, 1),
    Row("unregister absent", 1, 1),
    Row("stats", 1, 0),
    Row("metrics --once", 1, 0),
    Row("metrics --listen 127.0.0.1:0", None, None),
    # Its input is empty here, so its client has ended.
    Row("mcp", 0, 0),
    Row("web", None, None),
    Row("hosts", 1, 1),
    Row("bridge", None, None),
    Row("card absent", 1, 1),
    Row("catalog", 1, 0),
    # No session of a coding agent is found in an empty home folder.
    Row("adopt claude", None, None),
    Row("audit", 1, 0),
    # It changes nothing. A registry that cannot be used is one of the problems that it reports.
    Row("doctor", 0, 0, error=1),
    Row("registrar", 0, 0),
    Row("registrar --replace", 0, 0),
    Row("registrar --foreground", None, 1),
    Row("registrar --stop", None, 0),
    # It takes half a minute, and makes what it needs.
    Row("demo", None, None),
)
every_row = pytest.mark.parametrize("row", TABLE, ids=[row.typed for row in TABLE])
every_command = pytest.mark.parametrize("name", sorted({row.typed.split()[0] for row in TABLE}))


def test_the_table_has_every_command() -> None:
    """No command is missing here."""
    known = {name for name in build([]) if not name.startswith("-")}
    assert {row.typed.split()[0] for row in TABLE} == known


@pytest.mark.parametrize("row", [row for row in TABLE if row.no_registry is not None], ids=lambda row: row.typed)
def test_no_registry(row: Row, command: Command) -> None:
    """Where there is no registry, a command that reads or removes has exit code 1 and makes none; a wait for an end
    is over."""
    assert command(*row.typed.split()).code == row.no_registry
    assert command.folder.exists() == (row.typed.split()[0] in MAKERS)


@pytest.mark.parametrize("row", [row for row in TABLE if row.not_found is not None], ids=lambda row: row.typed)
def test_nothing_found(row: Row, command: Command, members: Registry) -> None:
    """A command that asks for one member has exit code 1 where there is none; an empty list is an answer."""
    members.register("planner")
    assert command(*row.typed.split()).code == row.not_found


def _other_things(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "notes.txt").write_text("mine")


def _a_file(folder: Path) -> None:
    folder.write_text("mine")


def _damage(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "page").write_bytes(os.urandom(70_000))


def _open_to_others(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def test_no_registrar_to_stop(command: Command) -> None:
    """Where no registrar runs there is none to stop: exit code 1."""
    assert command("registrar", "--stop").code == 1
    assert not command.folder.exists()


@pytest.fixture
def here(command: Command, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    """The command in this process, for it ends before it starts anything."""
    monkeypatch.setenv("ADSUM_DIR", str(command.folder.parent))

    def run(*words: str) -> Answer:
        if "--foreground" in words:
            # It would set the signals, the umask and the log of this process.
            return command(*words)
        code = main(words)
        return Answer(code, *capfd.readouterr())

    return run


@every_row
def test_a_folder_with_other_things(row: Row, command: Command, here: Here) -> None:
    """A folder that holds other things is refused: exit code 3, and a message that says so."""
    _other_things(command.folder)
    code, out, err = here(*_with_path(row, command.folder))
    assert code == row.error
    assert "holds no registry but other things" in err + out
    assert [path.name for path in command.folder.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("make", [_a_file, _damage, _open_to_others])
@every_row
def test_a_registry_that_cannot_be_used(row: Row, make: Callable[[Path], None], command: Command, here: Here) -> None:
    """A file in its place, damage, and a folder that other users may write to: exit code 3, never a raw error."""
    make(command.folder)
    code, _, err = here(*_with_path(row, command.folder))
    assert code == row.error
    assert row.error == 1 or "adsum: " in err


def _with_path(row: Row, folder: Path) -> list[str]:
    """The words, for this registry: the demo has one of its own by default."""
    return [*row.typed.split(), *(["--path", str(folder)] if row.typed.startswith("demo") else [])]


@every_command
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--frob"], "--frob"),
        (["--name", "a", "--path", "/b"], "not both"),
        (["--name", "../b"], "cannot name a registry"),
        (["--path", ""], "a folder of its own"),
    ],
)
def test_bad_usage(name: str, options: list[str], says: str, command: Command, here: Here) -> None:
    """An unknown option, and options that can name no registry, are usage errors in every command; nothing is made."""
    complete = next(row.typed.split() for row in TABLE if row.typed.split()[0] == name)
    split = complete.index("--") if "--" in complete else len(complete)
    code, out, err = here(*complete[:split], *options, *complete[split:])
    assert (code, out) == (2, "")
    assert err.startswith("adsum: ")
    assert says in err
    assert not command.folder.exists()
