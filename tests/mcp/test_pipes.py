"""``adsum mcp`` on standard input and output: its ends, and what else could be on its pipes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from adsum import Registry
from tests.cli.command import ADSUM, Command
from tests.support import Child, eventually
from tests.support.processes import state_of

from .raw import raw_client

_INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
}
_INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
_HELLO = json.dumps(_INITIALIZE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_ends_at_a_signal(command: Command, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and SIGHUP end it at once with 0, nothing on standard error and no word but messages on standard
    output, although its client has not closed the input."""
    with command.start("mcp") as child:
        child.say(_HELLO)
        assert json.loads(child.line(30))["id"] == 1
        child.signal(number)
        assert child.wait() == 0
        out, err = child.process.communicate(timeout=10)
        assert (out, err) == (b"", b"")


def test_an_input_that_ends_at_once(command: Command) -> None:
    """With no input it ends with 0; with a closed one it says what would start it; a file is read as any input."""
    code, out, err = command("mcp")
    assert (code, out, err) == (0, "", "")
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *ADSUM, "mcp"], env=command.environment, capture_output=True, text=True
    )
    assert closed.returncode == 2
    assert "standard input is closed" in closed.stderr
    requests = command.folder.with_name("requests")
    requests.write_text(_HELLO + "\n")
    with requests.open() as file:
        done = subprocess.run([*ADSUM, "mcp"], stdin=file, env=command.environment, capture_output=True, text=True)
    assert done.returncode == 0
    assert json.loads(done.stdout)["result"]["serverInfo"]["name"] == "adsum"


def test_lines_that_are_no_messages(command: Command) -> None:
    """Lines that are no JSON, or no message, are passed over; a line without an end is a message as long as it is not
    too long, and then the session ends."""
    rude = ["nonsense", "[]", "{}", "\udcff\x00", '{"jsonrpc": "2.0", "id": 5}', "[" * 50_000, _HELLO]
    with command.start("mcp") as child:
        for line in rude:
            child.process.stdin.write(line.encode(errors="surrogateescape") + b"\n")  # type: ignore[union-attr]
        assert json.loads(child.line(30))["id"] == 1
        try:
            for _ in range(80):
                child.process.stdin.write(b" " * 65536)  # type: ignore[union-attr]
        except BrokenPipeError:
            pass
        assert child.wait() == 0


def test_a_client_that_does_not_read(command: Command, members: Registry) -> None:
    """A client that asks and does not read cannot keep the server from ending with it."""
    for number in range(60):
        members.register(f"m-{number}", description="x" * 1000)
    request = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "list_agents", "arguments": {}}}
    with command.start("mcp") as child:
        child.say(_HELLO)
        for _ in range(400):
            child.say(json.dumps(request))
        eventually(lambda: _is_sleeping(child.pid), within=20)
        child.signal(signal.SIGTERM)
        assert child.wait() == 0


def test_sockets_for_pipes(command: Command) -> None:
    """It serves as well where a client gives it sockets, as programs of Node do."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            their = theirs.fileno()
            process = subprocess.Popen([*ADSUM, "mcp"], stdin=their, stdout=their, env=command.environment)
        ours.sendall(_HELLO.encode() + b"\n")
        with ours.makefile() as lines:
            assert json.loads(lines.readline())["id"] == 1
        ours.shutdown(socket.SHUT_WR)
        assert process.wait(20) == 0


def test_what_is_printed_is_no_message(command: Command, members: Registry) -> None:
    """What any code of the server prints goes to standard error; the client gets messages alone."""
    code = "import adsum.mcp.read_tools as r, runpy, sys, os; sys.argv[0] = 'adsum'\n"
    code += "old = r.ReadTools.list\n"
    code += "async def loud(*given):\n    print('loud'); os.write(1, b'louder\\n'); return await old(*given)\n"
    code += "r.ReadTools.list = loud\nrunpy.run_module('adsum.cli', run_name='__main__')"
    with Child(code, "mcp", env=command.environment) as child:
        child.say(_HELLO)
        assert json.loads(child.line(30))["id"] == 1
        child.say(json.dumps(_INITIALIZED))
        params = {"name": "list_agents", "arguments": {}}
        child.say(json.dumps({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}))
        assert json.loads(child.line())["id"] == 2
        out, err = child.process.communicate(timeout=10)
        assert (out, sorted(err.split())) == (b"", [b"loud", b"louder"])


def test_a_client_that_ended_before(command: Command) -> None:
    """Where the process that started the server has ended before, the client is not known, and the server says what to
    do."""
    # The shell ends at once; the server stays, with another parent.
    shell = ["sh", "-c", 'exec 3<&0; "$@" <&3 & exit 0', "sh", *ADSUM, "mcp", "--allow-writes"]
    with subprocess.Popen(
        shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=command.environment, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.wait(20) == 0
        params = {"name": "register_me", "arguments": {"id": "me"}}
        process.stdin.write(
            _HELLO + "\n" + json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}) + "\n"
        )
        call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}
        process.stdin.write(json.dumps(call) + "\n")
        assert json.loads(process.stdout.readline())["id"] == 1
        answer = json.loads(process.stdout.readline())
        text = json.loads(answer["result"]["content"][0]["text"])
        assert text["error"] == "client_unknown"
        assert "give pid" in text["message"]
        process.stdin.close()
        # The server ends with its input.
        assert process.stdout.read() == ""


def test_without_the_extra(command: Command, tmp_path: Path) -> None:
    """Where the SDK is missing, it names the package to install and ends with 3."""
    (tmp_path / "mcp_types").mkdir()
    (tmp_path / "mcp_types" / "__init__.py").write_text(
        "raise ModuleNotFoundError('No module named mcp_types', name='mcp_types')\n"
    )
    command.environment["PYTHONPATH"] = str(tmp_path)
    code, out, err = command("mcp")
    assert (code, out) == (3, "")
    assert "pip install 'adsum[mcp]'" in err
    assert command("--version").code == 0


def test_a_registry_that_cannot_be_read(command: Command, members: Registry) -> None:
    """Where the folder is not private, the command fails before it serves."""
    members.register("planner")
    command.folder.chmod(0o777)
    try:
        code, out, err = command("mcp")
    finally:
        command.folder.chmod(0o700)
    assert (code, out) == (3, "")
    assert str(command.folder) in err


def test_the_quick_start(command: Command) -> None:
    """The server begins without the SDK's clients, whose import would take a part of its start."""
    with raw_client(command) as client:
        maps = Path(f"/proc/{client.server_pid}/cmdline").read_bytes()
        assert b"mcp" in maps
        client.child.finish()
    code = "import sys; from adsum.mcp.startup import load; load('http'); load('stdio'); "
    code += "loaded = sorted(n for n in sys.modules if n.startswith(('mcp.client', 'mcp.server.mcpserver'))); "
    code += "import mcp; print(loaded, mcp.Client.__name__, mcp.server.MCPServer.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] Client MCPServer\n"


def _is_sleeping(pid: int) -> bool:
    return state_of(pid) == "S"
