"""The plugin in real runs of pytest: what a test leaves fails it, and what it does not use costs nothing."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.support import end_registrar, eventually
from tests.support.leaks import children
from tests.support.processes import is_alive

from .runs import Project


def test_a_run_without_the_fixtures_loads_nothing_of_adsum(project: Project) -> None:
    """Where no test uses a fixture, only the plugin's module is loaded: no lmdb, no msgspec, no asyncio of ours."""
    project.write(
        test_plain="""
            import sys

            def test_modules():
                assert {name for name in sys.modules if name.startswith("adsum")} == {"adsum", "adsum.pytest_plugin"}
                assert not {"lmdb", "msgspec"} & set(sys.modules)
        """
    )
    project.run("-p", "no:asyncio", "-W", "ignore::pytest.PytestConfigWarning").expect("1 passed")


def test_pytest_does_not_compile_adsum_anew(project: Project) -> None:
    """adsum's modules are imported as they are installed, and not by pytest's rewriting of assertions."""
    project.write(
        test_loaders="""
            import sys

            def test_loaders(adsum_registry):
                assert "adsum.registry" in sys.modules
                for name, module in list(sys.modules.items()):
                    if name.startswith("adsum.") and name != "adsum.pytest_plugin":
                        assert type(module.__spec__.loader).__name__ == "SourceFileLoader", name
        """
    )
    project.run().expect("1 passed")


def test_a_program_that_has_imported_adsum_can_run_pytest(project: Project) -> None:
    """pytest gives no warning that it could not rewrite adsum, which would be an error here."""
    project.write(
        test_nothing="def test_nothing(adsum_registry): assert adsum_registry.count() == 0",
        program="import adsum.registry, pytest, sys; sys.exit(pytest.main(sys.argv[1:]))",
    )
    command = [*project.command()[:1], "program.py", *project.command()[3:]]
    done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_plugin_can_be_left_out(project: Project) -> None:
    """`-p no:adsum` leaves the fixtures out."""
    project.write(test_any="def test_any(adsum_registry): pass")
    run = project.run("-p", "no:adsum")
    assert "fixture 'adsum_registry' not found" in run.output


def test_each_test_has_its_own_folder(project: Project) -> None:
    """The folder is ADSUM_DIR for a test and its children, a new one for each test, and is gone after it. A cluster or
    a node that the shell names does not reach the test."""
    project.write(
        test_folders="""
            import os, subprocess, sys
            from pathlib import Path

            import adsum
            import pytest

            seen = []

            @pytest.mark.parametrize("number", range(2))
            def test_folder(adsum_dir, adsum_registry, number):
                assert not any(folder.exists() for folder in seen)
                seen.append(adsum_dir)
                code = "import adsum; print(adsum.open().folder)"
                told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
                assert told.strip() == str(adsum_registry.folder) == str(adsum.open().folder) == f"{adsum_dir}/default"
                assert adsum_registry.count() == 0
                adsum_registry.register("me")

            def test_after():
                assert "ADSUM_DIR" not in os.environ
                assert os.environ["ADSUM_CLUSTER"] == "etcd://production:2379"
                assert len(set(seen)) == 2 and not any(folder.exists() for folder in seen)

            def test_environment(adsum_dir):
                assert not {"ADSUM_CLUSTER", "ADSUM_NODE"} & set(os.environ)
        """
    )
    project.run(env={"ADSUM_CLUSTER": "etcd://production:2379", "ADSUM_NODE": "here"}).expect("4 passed")


def test_processes_of_a_test_are_as_patient_as_it_is(project: Project) -> None:
    """The registry that a test has is made with a generous timeout, so a child's plain `open` has it too."""
    project.write(
        test_patience="""
            import adsum

            def test_patience(adsum_registry):
                assert adsum_registry.timeout == 30
                assert adsum.open().limits.registration_timeout == 30
        """
    )
    project.run().expect("1 passed")


LEFT = """
    import subprocess, sys

    import adsum

    CODE = "import adsum, time; adsum.open(timeout=10).register('left'); {wait}"

    children = []

    def start(wait="time.sleep(60)", name="left"):
        children.append(subprocess.Popen([sys.executable, "-c", CODE.format(wait=wait)]))
        return adsum.open().wait_for(name, timeout=30)
"""


def test_a_member_that_is_left_fails_the_test(project: Project) -> None:
    """A child that a test leaves is named with its pid and its command, is ended, and the next test begins clean."""
    project.write(
        left=LEFT,
        test_leaving="""
            from left import start

            def test_that_leaves(adsum_dir):
                start()

            def test_after(adsum_registry):
                assert adsum_registry.count() == 0
        """,
    )
    run = project.run()
    run.expect("2 passed, 1 error")
    assert "the test has left the member" in run.output
    assert "ERROR test_leaving.py::test_that_leaves" in run.output
    (pid,) = run.pids()
    assert not is_alive(pid)


def test_a_daemon_that_is_left_is_ended_too(project: Project) -> None:
    """A process that is no child of the tests any more is known by its environment."""
    project.write(
        left=LEFT,
        test_leaving="""
            import textwrap

            from left import children, start

            CODE = '''
            import os
            if not os.fork():
                os.setsid()
                with adsum.open(timeout=10) as registry:
                    registry.register("daemon")
                    time.sleep(60)
            '''

            def test_that_leaves(adsum_dir):
                start(textwrap.dedent(CODE), "daemon")
                children[0].wait()
        """,
    )
    run = project.run()
    run.expect("1 passed, 1 error")
    assert "/daemon in the registry 'default'" in run.output
    (pid,) = run.pids()
    assert not is_alive(pid)


def test_a_process_that_was_there_before_goes_on(project: Project) -> None:
    """A process that is older than the test, such as a server for all tests, may be a member of its registry."""
    project.write(
        test_older="""
            import subprocess, time

            import pytest

            @pytest.fixture(scope="session")
            def server():
                with subprocess.Popen(["sleep", "60"]) as process:
                    # Start times are counted in ticks of 10 ms.
                    time.sleep(0.05)
                    yield process
                    assert process.poll() is None
                    process.kill()

            def test_with_a_server(server, adsum_registry):
                adsum_registry.register("server", server)
        """
    )
    project.run().expect("1 passed")


def test_a_process_that_is_ending_is_waited_for(project: Project) -> None:
    """A child that a test asked to end, and did not wait for, is given a moment."""
    project.write(
        left=LEFT,
        test_ending="""
            import os, signal

            from left import start

            CODE = "import signal; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), os._exit(0)));"
            CODE += "import os; adsum.open(timeout=10).register('ready'); time.sleep(60)"

            def test_that_ends_it(adsum_dir):
                os.kill(start(CODE, "ready").pid, signal.SIGTERM)
        """,
    )
    project.run().expect("1 passed")


def test_a_registrar_that_is_left_fails_the_test(project: Project) -> None:
    """A registrar that does not end, because the test stopped it, is named and ended."""
    project.write(
        test_stopping="""
            import os, signal

            def test_that_stops_it(adsum_registry):
                adsum_registry.register("me")
                os.kill(adsum_registry.stats().registrar_pid, signal.SIGSTOP)
        """
    )
    run = project.run()
    run.expect("1 passed, 1 error")
    assert "the test has left the registrar of the registry 'default'" in run.output
    (pid,) = run.pids()
    assert not is_alive(pid)


def test_an_open_registry_does_not_bring_the_folder_back(project: Project) -> None:
    """A registry object that a test leaves open, with members of this process, makes no registry after the test."""
    project.write(
        test_open="""
            import os, threading, time

            import adsum

            kept = []

            def test_that_keeps_it_open(adsum_dir):
                registry = adsum.open(timeout=10)
                registry.register("me")
                registry.register("thread", threading.current_thread())
                kept.append((adsum_dir, registry))

            def test_later():
                (folder, registry), = kept
                # A keeper looks twice a second.
                time.sleep(1.5)
                assert not folder.exists()
        """
    )
    project.run().expect("2 passed")


def test_damage_done_on_purpose_is_no_failure(project: Project) -> None:
    """A test may damage its registry, or remove the folder."""
    project.write(
        test_damage="""
            import shutil

            import adsum

            def test_damage(adsum_registry):
                adsum_registry.register("me")
                adsum.admin.stop_registrar(adsum_registry.folder)
                # Not in place, which would end the processes that have it in memory (SIGBUS).
                page = adsum_registry.folder / "page"
                page.unlink()
                page.write_bytes(b"no page at all")

            def test_removal(adsum_dir, adsum_registry):
                adsum.admin.stop_registrar(adsum_registry.folder)
                shutil.rmtree(adsum_dir)
        """
    )
    project.run().expect("2 passed")


def test_with_xdist(project: Project) -> None:
    """Tests in several processes do not meet: each has its own registry, though all use the same names."""
    project.write(
        test_many="""
            import pytest

            @pytest.mark.parametrize("number", range(4))
            def test_one(adsum_registry, adsum_member, eventually, number):
                member = adsum_member("worker", custom={"number": number})
                assert [entry.custom["number"] for entry in adsum_registry.list_all()] == [number]
                member.kill()
                eventually(lambda: adsum_registry.departures(1)[0].how == "died")
        """
    )
    project.run("-n", "2").expect("4 passed")


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_with_pytest_asyncio(project: Project, mode: str) -> None:
    """A coroutine opens an `AsyncRegistry` on the same registry, and waits without blocking its loop."""
    project.write(
        test_loop="""
            import adsum
            import pytest

            @pytest.mark.asyncio
            async def test_in_a_loop(adsum_member, eventually):
                async with adsum.open_async() as registry:
                    await registry.register("me", heartbeat="loop")
                    member = adsum_member("worker", capabilities={"x"})
                    assert [entry.pid for entry in registry.find(capability="x")] == [member.pid]
                    member.kill()
                    await eventually.awaited(lambda: registry.departures(1)[0].how == "died")
                    assert registry.count() == 1
        """
    )
    project.run(f"--asyncio-mode={mode}").expect("1 passed")


WAITING = """
    import os, signal, time
    from pathlib import Path

    def test_waiting(adsum_dir, adsum_member):
        member = adsum_member("worker", command={command})
        if {frozen}:
            member.freeze()
        # It has every descriptor of this process, and so it keeps pipes open.
        child = os.fork() if {command} else 0
        if {command} and not child:
            signal.pause()
        Path("told").write_text(f"{{os.getpid()}} {{child}} {{member.pid}} {{adsum_dir}}")
        Path("told").rename("ready")
        time.sleep(60)
"""


@pytest.mark.parametrize("frozen", [False, True], ids=["running", "frozen"])
@pytest.mark.parametrize(
    "command", [None, ["sleep", "60"], ["sh", "-c", "trap '' TERM HUP; while :; do sleep 0.1; done"]]
)
@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_members_end_with_the_tests(
    project: Project, frozen: bool, command: list[str] | None, options: tuple[str, ...]
) -> None:
    """Where the process of the tests is killed, that of a run or of a worker of pytest-xdist, its members end, a
    program and a frozen one too. A later run removes the folder."""
    if options:
        pytest.importorskip("xdist")
    project.write(test_waiting=WAITING.format(frozen=frozen, command=command))
    ready = project.folder / "ready"
    with subprocess.Popen(project.command(*options), cwd=project.folder, stdout=subprocess.DEVNULL) as tests:
        eventually(lambda: ready.exists() or tests.poll() is not None, within=30)
        worker, child, member, folder = ready.read_text().split()
        if options:
            # No new worker begins the test once more.
            tests.kill()
        os.kill(int(worker), signal.SIGKILL)
    try:
        eventually(lambda: not is_alive(int(member)))
    finally:
        if int(child):
            os.kill(int(child), signal.SIGKILL)
            eventually(lambda: not is_alive(int(child)))
    project.write(test_waiting="def test_later(adsum_dir): pass")
    end_registrar(Path(folder) / "default")
    project.run().expect("1 passed")
    assert not Path(folder).exists()


def test_a_frozen_member_ends_with_the_tests_in_a_container(project: Project) -> None:
    """As where the first process of a container adopts it, which is of the same session: then the kernel does not end
    a stopped group of processes whose parent is gone (SIGHUP to an orphaned group: _exit(2))."""
    project.write(test_waiting=WAITING.format(frozen=True, command=None))
    ready, before = project.folder / "ready", children()
    with adopting(), subprocess.Popen(project.command(), cwd=project.folder, stdout=subprocess.DEVNULL) as tests:
        eventually(lambda: ready.exists() or tests.poll() is not None, within=30)
        _, _, member, folder = ready.read_text().split()
        tests.kill()
        tests.wait()
        try:
            eventually(lambda: not is_alive(int(member)))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(member), signal.SIGKILL)
            end_registrar(Path(folder) / "default")
            # This process has adopted them, and the watcher, which ends after the member.
            eventually(lambda: _all_ended(children() - before))
    shutil.rmtree(folder)


@contextlib.contextmanager
def adopting() -> Iterator[None]:
    """This process adopts what its children leave (PR_SET_CHILD_SUBREAPER, prctl(2))."""
    prctl = ctypes.CDLL(None).prctl
    assert prctl(36, 1, 0, 0, 0) == 0
    try:
        yield
    finally:
        prctl(36, 0, 0, 0, 0)


def _all_ended(pids: Iterable[int]) -> bool:
    """Whether these children have all ended; those that have are reaped."""
    left = [pid for pid in pids if not os.waitpid(pid, os.WNOHANG)[0]]
    return not left


def test_a_folder_in_use_is_removed_by_no_other_run(project: Project) -> None:
    """A run removes no folder of a test that runs at the same time, in another process."""
    project.write(
        test_both="""
            import subprocess, sys
            from adsum.testing.scratch_folder import ScratchFolder

            def test_both(adsum_dir):
                code = "from adsum.testing.scratch_folder import ScratchFolder; ScratchFolder().remove()"
                subprocess.run([sys.executable, "-c", code], check=True)
                assert adsum_dir.is_dir()
                other = ScratchFolder()
                assert other.folder != adsum_dir
                assert other.remove() == ""
        """
    )
    project.run().expect("1 passed")


def test_ctrl_c_leaves_nothing(project: Project) -> None:
    """An interrupted run ends its members and removes its folder."""
    project.write(
        test_waiting="""
            import time
            from pathlib import Path

            def test_waiting(adsum_dir, adsum_member):
                Path("told").write_text(f"{adsum_member('worker').pid} {adsum_dir}")
                Path("told").rename("ready")
                time.sleep(60)
        """
    )
    ready = project.folder / "ready"
    with subprocess.Popen(project.command(), cwd=project.folder, stdout=subprocess.DEVNULL) as tests:
        eventually(lambda: ready.exists() or tests.poll() is not None, within=30)
        pid, folder = ready.read_text().split()
        os.kill(tests.pid, signal.SIGINT)
        assert tests.wait(30) == 2
    assert not is_alive(int(pid))
    assert not Path(folder).exists()
