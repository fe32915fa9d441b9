"""What the pages show to be typed in a shell works, line for line; a block that is not run has one of few reasons."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import adsum
from adsum import Registry
from tests.support import Child
from tests.web.server import Server

from .page import blocks

ROOT = Path(__file__).resolve().parents[2]
HOW_TO = ROOT / "docs" / "how-to"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Programs that this machine need not have, and that no test may take over.
ALLOWED = {"needs Docker", "needs Kubernetes"}
# The programs of the blocks, which need not be on this machine.
PROGRAMS = ("node", "lpr", "python")
# In the place of this process, so that its end is that of the program.
_IN_A_SHELL = "import os, sys; os.execvp('bash', ['bash', '-c', f'exec {sys.argv[1]}'])"
_STARTS = re.compile(r"^(adsum run (\S+) .*?)(?: &)?$", re.MULTILINE)


@pytest.fixture
def members(registry_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """The default registry of a shell, in which the programs of the blocks do nothing until they are ended."""
    stubs = tmp_path / "bin"
    stubs.mkdir()
    for name in PROGRAMS:
        (stubs / name).write_text("#!/bin/sh\n" + ("exec sleep 60\n" if name == "node" else "exit 0\n"))
        (stubs / name).chmod(0o755)
    paths = [str(stubs), os.path.dirname(sys.executable), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(paths))
    monkeypatch.setenv("ADSUM_DIR", str(registry_folder.parent))
    monkeypatch.chdir(tmp_path)
    with adsum.open(timeout=10) as registry:
        yield registry


def _shell_blocks(page: str) -> list[str]:
    return [block.text for block in blocks(HOW_TO / f"{page}.md") if block.language == "sh"]


def _type(text: str) -> str:
    """What the lines print; each has to end with 0. A member that a line starts goes on in the background."""
    script = _STARTS.sub(r"\1 >/dev/null &\nadsum wait \2 --timeout 30 >/dev/null", text)
    ends = "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n"
    done = subprocess.run(["bash", "-ec", ends + script], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def _for_finding(registry: Registry) -> None:
    registry.register("small", capabilities={"draft"}, resources={"tokens": 5000}, custom={"model": "x"})
    registry.register("failing", capabilities={"review"}, custom={"stats": {"failed": 3}})


def _for_updating(registry: Registry) -> None:
    worker = registry.register("worker", capabilities={"review"}, custom={"model": "small", "done": 1})
    while worker.entry.revision < 11:
        worker.update(endpoint=str(worker.entry.revision))


def _for_claims(registry: Registry) -> None:
    registry.register("gpu-0", capabilities={"gpu"})


@pytest.mark.parametrize(
    ("page", "prepare", "shown"),
    [
        ("finding", _for_finding, ("small", "failing")),
        ("updating", _for_updating, ("worker is updated, revision 12", "worker is updated, revision 13")),
        ("describing", lambda _: None, ("planner is updated", "compares 14 trains to Oslo", "1.4.2")),
        ("claims", _for_claims, ()),
    ],
)
def test_the_lines_work(
    page: str, prepare: Callable[[Registry], object], shown: tuple[str, ...], members: Registry
) -> None:
    """Each line of the shell block ends with 0, with the members that the page is about."""
    prepare(members)
    (text,) = _shell_blocks(page)
    printed = _type(text)
    assert all(part in printed for part in shown), printed


def test_the_web_page_serves(members: Registry) -> None:
    """`adsum web` prints what the page shows, and the stream of `curl` has an event as it shows one."""
    pytest.importorskip("starlette", reason="the extra web is not installed")
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    members.register("first")
    serve, follow = _shell_blocks("web")
    assert serve == "adsum web\n"
    (shown,) = [block.output for block in blocks(HOW_TO / "web.md") if block.text == serve]
    with Server(members.folder) as server:
        there = (
            str(shown).replace(":8470", f":{server.port}").replace("/dev/shm/adsum-1000/default", str(server.folder))
        )
        assert there == f"serving {server.url} of {server.folder}\n"
        with Child(_IN_A_SHELL, follow.replace(":8470", f":{server.port}")) as curl:
            # The first lines come when it has connected.
            assert [curl.line(), curl.line()] == ["retry: 1000", ""]
            members.register("planner-1", capabilities={"planning"})
            id, kind, data = curl.line(), curl.line(), curl.line()
            curl.process.kill()
    assert re.fullmatch(r"id: \d+\.\d+", id)
    assert kind == "event: registered"
    document = json.loads(data.removeprefix("data: "))
    assert document["id"].endswith("/planner-1")
    assert {"kind", "revision", "at", "id"} <= document.keys()


def test_a_block_that_is_not_run_has_a_good_reason() -> None:
    """Every other block of Python is run, and nothing is left out that could be run."""
    reasons = {reason for page in PAGES for reason in re.findall(r"<!-- not run: ([^\n]*) -->", page.read_text())}
    # The page about writing pages shows the form.
    assert reasons - {"..."} == ALLOWED
