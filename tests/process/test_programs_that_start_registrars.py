"""Programs that are no Python, or are run by a strange one, and need a registrar."""

from __future__ import annotations

import importlib.util
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import adsum
from adsum import RegistrarUnavailable
from adsum._client import launch, starting

from ..support import Child, eventually, registrar_pid


def script(folder: Path, text: str) -> str:
    """A program beside the registry, which is private to the test. The shell runs it."""
    path = folder.with_name("program")
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(stat.S_IRWXU)
    return str(path)


def failure(folder: Path, timeout: float | None = 10) -> str:
    """The message of the error of a registration."""
    with adsum.open(path=folder, timeout=timeout) as registry, pytest.raises(RegistrarUnavailable) as raised:
        registry.register("a")
    assert raised.value.reason == "registrar_unavailable"
    return str(raised.value)


def processes_naming(word: str) -> list[int]:
    """The pids of living processes that have `word` in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            # It ended meanwhile.
            continue
    return found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exit 0", ("exit status 0", "no memory is left", "it wrote nothing")),
        ("echo no such licence >&2; exit 7", ("exit status 7", "no such licence")),
        ("kill -9 $$", ("SIGKILL",)),
    ],
)
def test_a_program_that_never_becomes_a_registrar(
    text: str, said: tuple[str, ...], registry_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is started three times, not thousands of times; then the error says how it ended, what it wrote, and the
    remedy."""
    count = registry_folder.with_name("count")
    monkeypatch.setattr(sys, "executable", script(registry_folder, f"echo x >> {count}\n{text}"))
    message = failure(registry_folder)
    for word in (*said, sys.executable, "3 tries", "ADSUM_PYTHON", "registrar_command", "registrar.log"):
        assert word in message
    assert count.read_text() == "x\n" * 3


def test_a_python_that_cannot_import_adsum(registry_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of the import is in the error of the call."""
    monkeypatch.setattr(launch, "package_folders", list)
    assert "ModuleNotFoundError: No module named 'adsum'" in failure(registry_folder)


def test_a_program_that_fails_within_a_short_timeout(registry_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller with little time gets the reason too, not the advice to give more."""
    monkeypatch.setattr(sys, "executable", script(registry_folder, "exit 3"))
    assert "exit status 3" in failure(registry_folder, 0.15)


def test_what_failing_programs_write_is_bounded(registry_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is rotated where no registrar lives to do that."""
    text = "head -c 200000 /dev/zero | tr '\\0' '\\n'; exit 1"
    monkeypatch.setattr(sys, "executable", script(registry_folder, text))
    for _ in range(3):
        failure(registry_folder)
    sizes = [path.stat().st_size for path in registry_folder.glob("registrar.log*")]
    assert len(sizes) == 2
    assert max(sizes) <= 256 * 1024 + 200_000


def test_a_program_that_hangs(registry_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call ends at its timeout, the next one waits for the same process, and an overdue one is ended."""
    program = script(registry_folder, "exec sleep 1000")
    monkeypatch.setattr(sys, "executable", program)
    with adsum.open(path=registry_folder) as registry:
        for _ in range(2):
            with pytest.raises(adsum.Timeout):
                registry.register("a", timeout=0.1)
        assert len(processes_naming(str(registry_folder))) <= 1
        monkeypatch.setattr(starting, "PATIENCE_SECONDS", 0.0)
        with pytest.raises(RegistrarUnavailable, match="started no registrar after"):
            registry.register("a", timeout=0.1)
    assert processes_naming(str(registry_folder)) == []


def hang(folder: str, program: str) -> None:
    """In a child: start a program that hangs, and exit."""
    sys.executable = program
    with adsum.open(path=folder) as registry:
        try:
            registry.register("a", timeout=0.1)
        except adsum.Timeout:
            print("timeout", flush=True)
        # A forked child owns nothing of this.
        if pid := os.fork():
            os.waitpid(pid, 0)
        print("exits", flush=True)


def test_a_program_that_hangs_ends_with_its_starter(registry_folder: Path) -> None:
    """What a call left behind ends when the process exits."""
    program = script(registry_folder, "sleep 1000; : ")
    with Child(hang, registry_folder, program) as child:
        child.expect("timeout")
        # The child itself, and what it started.
        assert len(processes_naming(str(registry_folder))) >= 2
        child.expect("exits")
        assert child.wait() == 0
    eventually(lambda: processes_naming(str(registry_folder)) == [])


def test_a_wrapper_around_python(registry_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrapper that stays in front of Python works."""
    python = sys.executable
    monkeypatch.setattr(sys, "executable", script(registry_folder, f'"{python}" "$@"\n'))
    with adsum.open(path=registry_folder, timeout=10) as registry:
        registry.register("a")
        assert registry.stats().registrar_pid == registrar_pid(registry_folder)


@pytest.mark.parametrize("way", ["variable", "command", "adsum"])
def test_a_python_that_the_user_names(way: str, registry_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ADSUM_PYTHON` and `registrar_command` name a Python, or the command adsum, where `sys.executable` is none."""
    python = sys.executable
    monkeypatch.setattr(sys, "executable", script(registry_folder, "exit 3"))
    command = None
    if way == "variable":
        monkeypatch.setenv("ADSUM_PYTHON", python)
    else:
        command = [python] if way == "command" else [python, "-m", "adsum.cli"]
    with adsum.open(path=registry_folder, timeout=10, registrar_command=command) as registry:
        registry.register("a")
        assert registry.stats().registrar_pid == registrar_pid(registry_folder)


def test_the_command_is_named_before_the_variable(registry_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`registrar_command` takes precedence over `ADSUM_PYTHON`."""
    monkeypatch.setenv("ADSUM_PYTHON", script(registry_folder, "exit 3"))
    with adsum.open(path=registry_folder, timeout=10, registrar_command=[sys.executable]) as registry:
        registry.register("a")


@pytest.mark.parametrize("command", ["python3", [], [""], [1], ["a\0b"]])
def test_an_impossible_command(command: object, registry_folder: Path) -> None:
    """An impossible `registrar_command` is refused when the registry is opened, and leaves nothing behind."""
    with pytest.raises((TypeError, ValueError), match="registrar_command="):
        adsum.open(path=registry_folder, registrar_command=command)  # type: ignore[arg-type]
    assert not registry_folder.exists()


def test_a_missing_python(registry_folder: Path) -> None:
    """A program that is not there is named, with the remedy."""
    registry = adsum.open(path=registry_folder, timeout=10, registrar_command=["/no/such/python"])
    with registry, pytest.raises(RegistrarUnavailable, match=r"/no/such/python: .*No such file.*ADSUM_PYTHON"):
        registry.register("a")


def frozen(folder: str, hook: str) -> None:
    """In a child: be a frozen program, which prints what it is started with and never ends by itself."""
    sys.frozen = True  # type: ignore[attr-defined]
    if hook == "hook":
        adsum.freeze_support()
    print("app", sys.argv[1:3], flush=True)
    with adsum.open(path=folder, timeout=10) as registry:
        try:
            registry.register("a")
            print("registered", flush=True)
        except RegistrarUnavailable as error:
            print(error, flush=True)
        sys.stdin.readline()


APP = "import sys; sys.executable = {program!r}; from {module} import frozen; frozen(*sys.argv[1:3])"


def test_a_frozen_program_is_never_run_again(registry_folder: Path) -> None:
    """A frozen program that does not call `freeze_support` gets an error at once that says what to do."""
    count = registry_folder.with_name("count")
    program = script(registry_folder, f"echo x >> {count}; sleep 1000")
    with Child(APP.format(program=program, module=__name__), registry_folder, "none") as child:
        assert child.line().startswith("app")
        message = child.line()
    for word in (program, "frozen program", "adsum.freeze_support()", "ADSUM_PYTHON", "registrar_command"):
        assert word in message
    assert not count.exists()


def test_a_frozen_program_that_supports_it(registry_folder: Path) -> None:
    """A frozen program that calls `freeze_support` first is started again as the registrar, and as nothing else."""
    arguments = f"{registry_folder} hook"
    code = f"import sys; from {__name__} import frozen; frozen(*sys.argv[1:3])"
    root = Path(__file__).resolve().parents[2]
    count = registry_folder.with_name("count")
    program = script(
        registry_folder,
        f'echo x >> {count}\nexport PYTHONPATH={root}\nexec {sys.executable} -c "{code}" {arguments} "$@"',
    )
    with Child(APP.format(program=program, module=__name__), registry_folder, "hook") as child:
        child.expect(f"app [{str(registry_folder)!r}, 'hook']")
        child.expect("registered")
        pid = registrar_pid(registry_folder)
        assert pid is not None
        assert Path(f"/proc/{pid}/comm").read_text().strip() == "adsum-registrar"
        assert "app" not in (registry_folder / "registrar.log").read_text()
    assert count.read_text() == "x\n"


def copied_python(path: Path) -> Path:
    """A copy of the program of this Python. It finds the standard library through PYTHONHOME alone."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(Path(os.path.realpath(sys.executable)).read_bytes())
    path.chmod(stat.S_IRWXU)
    return path


def register_with(python: Path, folder: Path, home: str) -> int:
    """Register from another Python; the pid of the registrar that it started."""
    code = "import adsum, sys; adsum.open(path=sys.argv[1], timeout=10).register('a')"
    variables = {
        "PYTHONHOME": home,
        "LD_LIBRARY_PATH": f"{sys.base_prefix}/lib",
        "PYTHONPATH": os.pathsep.join(launch.package_folders()),
    }
    environment = {**os.environ, **variables}
    done = subprocess.run([python, "-c", code, folder], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    pid = registrar_pid(folder)
    assert pid is not None
    return pid


def test_a_program_that_embeds_python(registry_folder: Path) -> None:
    """Where `sys.executable` is the program itself, and no Python by its name, the Python to which the standard library
    belongs runs the registrar."""
    program = copied_python(registry_folder.with_name("embedding"))
    pid = register_with(program, registry_folder, sys.base_prefix)
    assert os.path.basename(os.readlink(f"/proc/{pid}/exe")).startswith("python")


def test_a_python_that_needs_its_home(registry_folder: Path) -> None:
    """A Python that was moved away from its standard library gets the PYTHONHOME that its starter uses."""
    home = registry_folder.with_name("home")
    (home / "lib").mkdir(parents=True)
    library = Path(os.__file__).parent
    (home / "lib" / library.name).symlink_to(library)
    pid = register_with(copied_python(home / "elsewhere" / "python3"), registry_folder, str(home))
    assert f"PYTHONHOME={home}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert str(home / "elsewhere" / "python3") == os.readlink(f"/proc/{pid}/exe")


def test_packages_in_a_folder_with_a_colon(registry_folder: Path) -> None:
    """The folders of adsum and its dependencies may have any name."""
    folder = registry_folder.with_name("a:b c")
    folder.mkdir()
    for name in ("adsum", "lmdb", "msgspec"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.submodule_search_locations
        (folder / name).symlink_to(spec.submodule_search_locations[0])
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import adsum; adsum.open(path=sys.argv[1]).register('a')"
    subprocess.run([sys.executable, "-I", "-S", "-c", code, registry_folder], check=True, timeout=60)
    pid = registrar_pid(registry_folder)
    assert pid is not None
    assert str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def test_no_proc(registry_folder: Path) -> None:
    """Where /proc is not mounted, `open` says so; nothing is started."""
    code = "import adsum, sys\ntry: adsum.open(path=sys.argv[1])\nexcept adsum.AdsumError as e: print(e.reason, e)"
    without = f'umount --lazy /proc && exec "{sys.executable}" -c "$0" "$1"'
    command = ["unshare", "--mount", "sh", "-c", without, code, str(registry_folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        pytest.skip(f"not allowed here: {done.stderr.strip()}")
    assert done.stdout.startswith("unsupported_platform adsum needs /proc")
    assert not registry_folder.exists()
