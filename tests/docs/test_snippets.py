"""What the documentation shows is true: its code runs, and prints what it says."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import adsum
from adsum import errors
from tests.support import Child, eventually, mypy

from .page import blocks, is_like, write_files, write_modules

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
WITH_PYTHON = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]


# What a mapping has besides, and what the hooks of fork call.
NOT_LISTED = {"after_fork", "keys", "quiesce"}


@pytest.fixture
def home(registry_folder: Path) -> Path:
    """The folder of a user's registries, with a default one that is as patient as tests are."""
    home = registry_folder.parent
    with adsum.open(path=home / "default", timeout=10, limits=adsum.Limits(registration_timeout=10)) as registry:
        registry.register("first")
        registry.unregister("first")
    return home


def _environment(home: Path) -> dict[str, str]:
    bin_folder = os.path.dirname(sys.executable)
    return {"ADSUM_DIR": str(home), "PATH": os.pathsep.join([bin_folder, os.environ["PATH"]])}


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_shows(page: Path, home: Path, tmp_path: Path) -> None:
    """The Python of a page, run from top to bottom in one interpreter, works and prints what the page says."""
    _run("run(sys.argv[1])", page, home, tmp_path)


def test_the_tutorial_can_be_pasted_at_a_prompt(home: Path, tmp_path: Path) -> None:
    """At Python's prompt, which prints what expressions give, the tutorial's blocks print what it shows and no more."""
    _run("run(sys.argv[1], at_prompt=True)", ROOT / "docs" / "tutorial.md", home, tmp_path)


# What an example in a script need not say, though a program that is checked strictly must.
NOT_IN_EXAMPLES = ("no-redef", "no-untyped-call", "no-untyped-def", "var-annotated")
# Values of other packages, and of endpoints, that may be None in principle and are not in the example; and an import of
# another file of the same page, which has another name here.
NO_MISTAKES = {
    ("file_systemd_service.py", "import-not-found"),
    ("file_README_ask.py", "arg-type"),
    ("page_telemetry.py", "union-attr"),
    ("page_web_servers.py", "arg-type"),
}


def test_the_pages_pass_a_type_checker(tmp_path: Path) -> None:
    """`mypy --strict` accepts how the pages call adsum, the loops over events included."""
    for page in WITH_PYTHON:
        write_modules(page, tmp_path)
    found = mypy(tmp_path, *(f"--disable-error-code={code}" for code in NOT_IN_EXAMPLES))
    wrong = [line for line in found if (line.split(":")[0], line.rpartition("[")[2].rstrip("]")) not in NO_MISTAKES]
    assert not wrong


def _run(call: str, page: Path, home: Path, folder: Path) -> None:
    code = f"import sys; from tests.docs.page import run; {call}"
    with Child(code, page, cwd=folder, env=_environment(home)) as child:
        told = child.process.communicate(timeout=60)
        assert child.process.returncode == 0, "".join(part.decode() for part in told)


class Shell:
    """A shell that is typed into."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._child = subprocess.Popen(
            ["bash"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **environment},
            text=True,
        )

    def type(self, command: str) -> str:
        """What the command prints, without the shell's own notes about jobs that were killed."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(f"{command}\necho end of output\n")
        self._child.stdin.flush()
        lines = iter(self._child.stdout.readline, "end of output\n")
        return "".join(line for line in lines if not line.startswith("bash: "))

    def close(self) -> None:
        self._child.communicate("kill -9 $(jobs -p)\nwait\n", timeout=10)


def test_the_readme_works_when_pasted(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two processes of the README, pasted into files and a shell, find each other and miss the dead."""
    monkeypatch.chdir(tmp_path)
    write_files(README)
    (pasted,) = [block for block in blocks(README) if block.language == "sh"]
    assert pasted.output is not None
    shell = Shell(tmp_path, _environment(home))
    printed = ""
    with adsum.open(path=home / "default") as registry:
        try:
            for command in pasted.text.splitlines():
                if command == "sleep 1":
                    # A reader's second is long; a busy test machine's may not be.
                    eventually(lambda: registry.count(capability="counting") == 2)
                elif command.startswith("kill"):
                    before = registry.count(capability="counting")
                    shell.type(command)
                    eventually(lambda before=before: registry.count(capability="counting") < before)  # type: ignore[misc]
                else:
                    printed += shell.type(command)
        finally:
            shell.close()
    assert is_like(pasted.output, printed)


def test_no_block_has_a_prompt_in_front() -> None:
    """What a page shows to be typed can be pasted as it is. A transcript, with output, is a block of its own kind."""
    for page in PAGES:
        for block in blocks(page):
            typed = block.text.splitlines()
            if block.language in ("sh", "python"):
                assert not any(line.startswith(("$ ", ">>> ")) for line in typed), f"{page}:{block.line}"


def test_the_readme_lists_every_call() -> None:
    """The README has one line for each public call of a registry, a registration and a watch."""
    listed = set(re.findall(r"`(?:adsum\.)?(\w+)", README.read_text()))
    for kind in (adsum.Registry, adsum.Registration, adsum.Watch):
        calls = {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}
        assert calls - listed <= NOT_LISTED, kind


def test_the_readme_lists_every_error() -> None:
    """The table of the README has one line for each error, which names the built-in error that it is as well."""
    section = README.read_text().partition("\n## Errors\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    for kind in vars(errors).values():
        if not (isinstance(kind, type) and issubclass(kind, adsum.AdsumError)) or kind is adsum.AdsumError:
            continue
        (row,) = [row for row in rows if f"`{kind.__name__}`" in row and f"an `{kind.__name__}`" not in row]
        builtin = [base.__name__ for base in kind.__bases__ if base.__module__ == "builtins"]
        assert all(f"`{name}`" in row for name in builtin), row
