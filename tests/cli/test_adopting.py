"""`adsum adopt`: running sessions of coding agents, from their files in a made-up home folder and real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adsum import Entry, Registry
from adsum.cli import processes
from adsum.cli.adopt import agent_sessions, formats
from adsum.cli.adopt.adoption import Adoption
from adsum.cli.options import UsageError
from tests.support import eventually, remove_folder

from .command import Command

Start = Callable[[], int]


@pytest.fixture
def home(tmp_path: Path, command: Command) -> Path:
    """The home folder of the command, and no variable that names another folder of an agent."""
    home = tmp_path / "home"
    home.mkdir()
    command.environment["HOME"] = str(home)
    for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "COPILOT_HOME"):
        command.environment.pop(name, None)
    return home


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts processes that play the sessions, in a working folder of their own."""
    started: list[subprocess.Popen[bytes]] = []
    folder = tmp_path / "project"
    folder.mkdir()

    def one() -> int:
        started.append(subprocess.Popen(["sleep", "600"], cwd=folder))
        return started[-1].pid

    yield one
    for process in started:
        process.kill()
        process.wait()


def claude(home: Path, pid: int, *, file_name: str = "", **fields: Any) -> Path:
    """A file of a session of Claude Code."""
    folder = home / ".claude" / "sessions"
    folder.mkdir(parents=True, exist_ok=True)
    process = processes.read(pid)
    known = {"pid": pid, "sessionId": "3650", "cwd": "/srv/api", "version": "2.1.267", "kind": "interactive"}
    known |= {"entrypoint": "cli", "name": "api-55", "status": "busy", "startedAt": 1789029119710}
    if process is not None:
        known["procStart"] = str(process.start_ticks)
    path = folder / (file_name or f"{pid}.json")
    path.write_text(json.dumps(known | fields))
    return path


def ended(start: Start) -> int:
    """The number of a process that has ended."""
    pid = start()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def test_a_session_becomes_a_member(home: Path, start: Start, command: Command, members: Registry) -> None:
    """A running session is a member with its folder, its status and what else the file says, and ends with its
    process."""
    pid = start()
    path = claude(home, pid, status="waiting", waitingFor="input needed")
    answer = command("adopt", "claude")
    assert (answer.code, answer.err) == (0, "")
    entry = members[f"claude-{pid}"]
    assert (entry.pid, entry.metadata.capabilities) == (pid, frozenset({"coding-agent", "claude"}))
    assert entry.metadata.description == "Claude Code: api-55"
    assert (entry.metadata.version, entry.metadata.doing) == ("2.1.267", "waiting: input needed")
    assert entry.custom == {
        "session": "3650",
        "cwd": "/srv/api",
        "status": "waiting",
        "kind": "interactive",
        "entrypoint": "cli",
        "adopted_from": str(path),
    }
    assert f"claude-{pid}" in answer.out
    assert "/srv/api" in answer.out
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: f"claude-{pid}" not in members)
    eventually(lambda: [one.how for one in members.departures()] == ["died"])


def test_a_second_look_updates(home: Path, start: Start, command: Command, members: Registry) -> None:
    """A session that is adopted already keeps its incarnation, and gets what has changed; nothing changed writes
    nothing. A session whose file is gone is unregistered."""
    pid = start()
    path = claude(home, pid)
    (first,) = command.document("adopt", "claude")
    revision = members[f"claude-{pid}"].revision
    assert command("adopt", "claude").code == 0
    assert members[f"claude-{pid}"].revision == revision
    claude(home, pid, status="idle", sessionId="4711")
    (second,) = command.document("adopt", "claude")
    assert (second["incarnation"], second["metadata"]["doing"]) == (first["incarnation"], "idle")
    assert second["metadata"]["custom"]["session"] == "4711"
    path.unlink()
    assert command("adopt", "claude").code == 1
    assert f"claude-{pid}" not in members


def test_stale_files_are_skipped(home: Path, start: Start, command: Command, members: Registry) -> None:
    """A file whose process has ended, or whose number another process has now, is skipped with a message."""
    dead, reused, started_later, alive = ended(start), start(), start(), start()
    claude(home, dead)
    claude(home, reused, procStart="12345")
    path = claude(home, started_later, procStart=None)
    os.utime(path, (1e9, 1e9))
    claude(home, alive, procStart=None)
    answer = command("adopt", "claude")
    assert answer.code == 0
    assert [entry.pid for entry in members.find()] == [alive]
    messages = sorted(answer.err.splitlines())
    assert len(messages) == 3
    assert sum(f"{dead}.json: process {dead} has ended" in line for line in messages) == 1
    assert sum("is another one: it has the number of one that has ended" in line for line in messages) == 2


# What is in a file, and why it is skipped. PID is that of a running process.
BAD = [
    ("", "it is no JSON object"),
    ("{", "it is no JSON object"),
    ("[1]", "it is no JSON object"),
    ("[" * 100_000, "it has more than"),
    ("[" * 30_000, "it is no JSON object"),
    ('{"pid": "PID"}', "it has no pid"),
    ('{"pid": true}', "it has no pid"),
    ('{"pid": -1}', "it has no pid"),
    ('{"pid": 1}', "its name does not have the pid"),
    ('{"pid": PID, "cwd": "\\ud800"}', "it is no JSON object"),
    ('{"pid": PID, "cwd": {"a": 1}}', "it has {'a': 1} where a text is expected"),
    ('{"pid": PID, "status": [1]}', "it has [1] where a text is expected"),
    ('{"pid": PID, "procStart": "' + "9" * 5000 + '"}', "is another one"),
    ('{"pid": PID, "procStart": ' + "9" * 18 + "}", "is another one"),
]


def test_bad_files_are_skipped(home: Path, start: Start, command: Command, members: Registry) -> None:
    """A file that cannot be understood is skipped with a message of one line, and the next one is read."""
    why = {}
    for text, reason in BAD:
        path = claude(home, pid := start())
        path.write_text(text.replace("PID", str(pid)))
        why[str(path)] = reason
    claude(home, other := start())
    answer = command("adopt", "claude")
    assert [entry.pid for entry in members.find()] == [other]
    said = answer.err.splitlines()
    assert len(said) == len(BAD)
    for line in said:
        path_said, _, reason = line.removeprefix("adsum: skipped ").partition(": ")
        assert why[path_said] in reason, line


def test_files_that_are_no_plain_files(home: Path, start: Start, command: Command, tmp_path: Path) -> None:
    """Folders, pipes, links and files of other names are skipped; none of them is waited for."""
    pid = start()
    folder = claude(home, pid).parent
    (folder / "1.json").mkdir()
    os.mkfifo(folder / "2.json")
    (folder / "3.json").symlink_to(tmp_path / "elsewhere")
    (folder / "4.json").symlink_to(folder / f"{pid}.json")
    (folder / f"{pid}.abc.key").write_text("secret")
    claude(home, pid, file_name="copy.json")
    answer = command("adopt", "claude")
    assert answer.code == 0
    said = answer.err.splitlines()
    assert len(said) == 5
    assert [("3.json" in line or "4.json" in line) for line in said] == ["is a symbolic link" in line for line in said]
    assert "secret" not in answer.err


def test_a_link_whose_name_has_the_pid(tmp_path: Path) -> None:
    """A format whose files are not read says of a link that it is one, too."""
    (tmp_path / "4.lock").symlink_to(tmp_path / "elsewhere")
    format = formats.Format(about="X", home=str(tmp_path), files="*.lock", pid_in_name=r"(\d+)\.lock")
    with pytest.raises(agent_sessions.Skipped, match="is a symbolic link"):
        agent_sessions.read(format, tmp_path / "4.lock")


def test_the_first_process_is_no_session(home: Path, command: Command, members: Registry) -> None:
    """A file that names process 1 does not make the machine's first process a member, also for its own user."""
    claude(home, 1)
    answer = command("adopt", "claude")
    assert members.count() == 0
    assert "1.json: process 1 is the first of this machine or container, and no session" in answer.err


def test_hostile_text(home: Path, start: Start, command: Command, members: Registry) -> None:
    """Text of a file is stored as one short line, and never reaches the terminal as control characters."""
    pid = start()
    claude(home, pid, name="x\x1b[31m\n" * 100, cwd="/a\x1b]0;t\x07\u2028b", status="b\x00usy", version="v" * 1000)
    answer = command("adopt", "claude")
    assert (answer.code, answer.err) == (0, "")
    entry = members[f"claude-{pid}"]
    assert entry.custom["cwd"] == "/a ]0;t  b"
    assert entry.metadata.doing == "b usy"
    assert len(entry.metadata.description) < 200
    assert not any(char in answer.out for char in "\x1b\x07")


def test_other_agents(home: Path, start: Start, command: Command, members: Registry) -> None:
    """Copilot names a process in the name of a file, Codex writes a date; both become members."""
    copilot, codex, other = start(), start(), start()
    folder = home / ".copilot" / "session-state" / "0b7c"
    folder.mkdir(parents=True)
    (folder / f"inuse.{copilot}.lock").write_text(str(copilot))
    (folder / f"inuse.{ended(start)}.lock").write_text("")
    (folder / "inuse.x.lock").write_text("")
    (home / ".codex" / "app-server-daemon").mkdir(parents=True)
    pid_file = home / ".codex" / "app-server-daemon" / "app-server.pid"
    process = processes.read(codex)
    assert process is not None
    date = time.strftime("%a %b %d %H:%M:%S %Y", time.localtime(process.started_at))
    pid_file.write_text(json.dumps({"pid": codex, "processStartTime": date}))
    answer = command("adopt", "copilot", "codex", "copilot")
    assert (answer.code, len(answer.err.splitlines())) == (0, 2)
    assert members[f"copilot-{copilot}"].custom["session"] == "0b7c"
    assert members[f"copilot-{copilot}"].custom["cwd"].endswith("/project")
    assert members[f"codex-{codex}"].metadata.description == "Codex app server"
    pid_file.write_text(json.dumps({"pid": other, "processStartTime": "Wed Aug 26 10:25:14 2020"}))
    answer = command("adopt", "codex")
    assert answer.code == 1
    assert f"process {other} is another one" in answer.err


def test_a_folder_of_another_name(home: Path, start: Start, command: Command, members: Registry) -> None:
    """The environment variable of the agent names its folder; an empty one does not."""
    pid = start()
    claude(home / "elsewhere", pid)
    command.environment["CLAUDE_CONFIG_DIR"] = " "
    assert command("adopt", "claude").code == 1
    command.environment["CLAUDE_CONFIG_DIR"] = str(home / "elsewhere" / ".claude")
    assert command("adopt", "claude").code == 0
    assert f"claude-{pid}" in members


def test_formats_of_the_user(home: Path, start: Start, command: Command, members: Registry, tmp_path: Path) -> None:
    """A file of formats adds agents, and replaces what is known of one."""
    pid = start()
    (home / "mine").mkdir()
    (home / "mine" / "session").write_text(json.dumps({"number": pid, "what": "thinks"}))
    file = tmp_path / "formats.toml"
    file.write_text(
        '[mine]\nabout = "My agent"\nhome = "~/mine"\nfiles = "session"\npid = "number"\ndoing = ["what"]\n'
    )
    assert command("adopt", "mine", "--formats", file).code == 0
    assert members[f"mine-{pid}"].metadata.doing == "thinks"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x", "Expected '='"),
        ('[a]\nabout = "A"\n', "missing required field"),
        ('[a]\nabout = "A"\nhome = "/"\nfiles = "*"\n', "neither pid nor pid_in_name"),
        ('[a]\nabout = "A"\nhome = "/"\nfiles = "*"\npid_in_name = "x"\n', "one group"),
        ('[a]\nabout = "A"\nhome = "/"\nfiles = "*"\npid_in_name = "("\n', "unterminated"),
        ('[a]\nabout = "A"\nhome = "~"\nfiles = "../*"\npid = "p"\n', "below home"),
        ('[a]\nabout = "A"\nhome = "~"\nfiles = "*"\npid = "p"\ncolour = 1\n', "colour"),
    ],
)
def test_formats_that_are_wrong(text: str, why: str, tmp_path: Path) -> None:
    """A file of formats that cannot be used is a usage error that says why."""
    file = tmp_path / "formats.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=why):
        formats.load(file)


def test_usage(home: Path, command: Command) -> None:
    """An unknown agent, none, and a file that is not there are usage errors; the message lists the known agents."""
    for words in (("adopt", "emacs"), ("adopt",)):
        answer = command(*words)
        assert answer.code == 2
        assert "claude, codex, copilot" in answer.err
    for options in (("--formats", "/nowhere"), ("--watch", "--json"), ("--interval", "0")):
        assert command("adopt", "claude", *options).code == 2


def test_the_id_is_held(home: Path, start: Start, command: Command, members: Registry) -> None:
    """An id that another program has registered is left alone."""
    pid = start()
    claude(home, pid)
    members.register(f"claude-{pid}", pid)
    answer = command("adopt", "claude")
    assert answer.code == 1
    assert "which was not adopted" in answer.err
    assert not members[f"claude-{pid}"].custom


def test_watching(home: Path, start: Start, command: Command, members: Registry) -> None:
    """With --watch sessions that begin are adopted, changes are followed, and those that leave are unregistered, until
    Ctrl-C; the entries stay then. A message is printed once."""
    with command.start("adopt", "claude", "--watch", "--interval", "0.02") as adopting:
        first, second = start(), start()
        path = claude(home, first)
        assert adopting.line().split()[:3] == ["adopted", f"claude-{first}", "busy"]
        (path.parent / "0.json").write_text("{")
        claude(home, first, status="idle")
        assert adopting.line().split()[:3] == ["updated", f"claude-{first}", "idle"]
        claude(home, second)
        assert adopting.line().split()[:2] == ["adopted", f"claude-{second}"]
        path.unlink()
        assert adopting.line().split()[:2] == ["left", f"claude-{first}"]
        assert [entry.pid for entry in members.find()] == [second]
        os.kill(second, signal.SIGKILL)
        eventually(lambda: len(members) == 0)
        third = start()
        claude(home, third)
        assert adopting.line().split()[:2] == ["adopted", f"claude-{third}"]
        adopting.signal(signal.SIGINT)
        _, errors = adopting.process.communicate(timeout=20)
        assert adopting.process.returncode == 130
        assert errors.decode().count("/0.json") == 1
    assert [entry.pid for entry in members.find()] == [third]


def test_a_number_that_is_reused_while_it_is_adopted(
    home: Path, start: Start, members: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the process ends between the look at the file and the registration, and another gets its number, nothing is
    registered."""
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)
    pid = start()
    claude(home, pid)
    real = processes.read

    def earlier(number: int) -> processes.ProcessRecord | None:
        found = real(number)
        return None if found is None else found._replace(start_ticks=found.start_ticks - 1)

    monkeypatch.setattr(processes, "read", earlier)
    monkeypatch.setattr(agent_sessions, "_require_same", lambda *_: None)
    assert list(Adoption("claude", formats.load(None)["claude"], members).look()) == []
    assert len(members) == 0
    monkeypatch.undo()
    monkeypatch.setenv("HOME", str(home))
    done: list[tuple[str, Entry]] = list(Adoption("claude", formats.load(None)["claude"], members).look())
    assert [what for what, _ in done] == ["adopted"]


def test_adopted_sessions_come_back(home: Path, start: Start, command: Command) -> None:
    """`adsum adopt --watch` registers the sessions anew that it has adopted, when the folder of the registry goes."""
    pid = start()
    claude(home, pid)
    with command.start("adopt", "claude", "--watch") as adopt:
        assert adopt.line().startswith("adopted")
        remove_folder(command.folder)
        eventually(lambda: command("show", f"claude-{pid}").code == 0)
        assert command.document("show", f"claude-{pid}")["pid"] == pid
        adopt.signal(signal.SIGINT)
        adopt.wait()
