"""Locks that show which process serves a folder, and the questions about them, which keep no process from its start."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adsum._bridge import process as bridge
from adsum._client.cluster import running_bridge
from adsum._os import presence
from adsum._os.presence import hold_alone, is_held, is_in_use
from adsum._registrar import tenure
from tests.support import WITHIN

ROUNDS = 300


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Ask a question in four threads without a pause, for as long as the test runs."""
    ends = threading.Event()
    threads: list[threading.Thread] = []

    def ask(question: Callable[[], object]) -> None:
        def run() -> None:
            while not ends.is_set():
                question()

        threads.extend(threading.Thread(target=run) for _ in range(4))
        for thread in threads:
            thread.start()

    yield ask
    ends.set()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("name", "lock", "question"),
    [
        ("lock", tenure.lock, lambda folder: is_in_use(folder)),
        ("bridge", bridge.lock, running_bridge),
    ],
    ids=["registrar", "bridge"],
)
def test_a_question_keeps_no_process_from_its_start(
    tmp_path: Path,
    asking: Callable[[Callable[[], object]], None],
    name: str,
    lock: Callable[[Path], int | None],
    question: Callable[[Path], object],
) -> None:
    """A process takes a lock at the first attempt while others ask whether it is held."""
    (tmp_path / name).touch()
    asking(lambda: question(tmp_path))
    for _ in range(ROUNDS):
        descriptor = lock(tmp_path)
        assert descriptor is not None
        assert lock(tmp_path) is None
        os.close(descriptor)


def test_a_lock_that_is_held_only_to_look_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shared lock of a process that only asks delays the exclusive lock, and does not refuse it."""
    monkeypatch.setattr(presence, "_LOOK_SECONDS", WITHIN)
    file = tmp_path / "lock"
    file.touch()
    look = os.open(file, os.O_RDWR)
    fcntl.flock(look, fcntl.LOCK_SH)
    assert not is_held(file)
    threading.Timer(0.05, fcntl.flock, (look, fcntl.LOCK_UN)).start()
    descriptor = hold_alone(file)
    assert descriptor is not None
    assert is_held(file)
    for number in (look, descriptor):
        os.close(number)


def test_a_client_counts_as_a_user_of_the_folder(tmp_path: Path) -> None:
    """A folder is in use while a client or a registrar has its lock, and by clients alone if the registrar is left
    out."""
    assert not is_in_use(tmp_path)
    for name in ("lock", "clients"):
        (tmp_path / name).touch()
    assert not is_in_use(tmp_path)
    client = os.open(tmp_path / "clients", os.O_RDWR)
    fcntl.flock(client, fcntl.LOCK_SH)
    assert is_in_use(tmp_path)
    assert is_in_use(tmp_path, but_the_registrar=True)
    os.close(client)
    registrar = tenure.lock(tmp_path)
    assert registrar is not None
    assert is_in_use(tmp_path)
    assert not is_in_use(tmp_path, but_the_registrar=True)
    os.close(registrar)


def test_another_question_does_not_count_as_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exclusive lock that another process takes for a moment, to ask, makes no folder in use."""
    monkeypatch.setattr(presence, "_CLIENTS_SECONDS", WITHIN)
    (tmp_path / "clients").touch()
    other = os.open(tmp_path / "clients", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    ends = threading.Timer(0.005, os.close, (other,))
    ends.start()
    assert not is_in_use(tmp_path)
    ends.join()
