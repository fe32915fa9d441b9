"""The errors: one class hierarchy, a stable reason for each class, and no loss in pickling."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import pickle
from pathlib import Path

import pytest

import adsum
from adsum import AdsumError, AlreadyRegistered, Registry, Stale
from adsum.errors import BY_REASON

# The reasons are part of the contract, and so are the built-in classes by which each error can be caught.
WORDS: dict[str, tuple[type[AdsumError], type[Exception]]] = {
    "already_registered": (adsum.AlreadyRegistered, AdsumError),
    "invalid_process_id": (adsum.InvalidProcessId, ValueError),
    "invalid_metadata": (adsum.InvalidMetadata, ValueError),
    "dead_process": (adsum.DeadProcess, AdsumError),
    "registry_full": (adsum.RegistryFull, AdsumError),
    "system_busy": (adsum.SystemBusy, AdsumError),
    "timeout": (adsum.Timeout, TimeoutError),
    "not_registered": (adsum.NotRegistered, KeyError),
    "stale": (adsum.Stale, AdsumError),
    "registrar_unavailable": (adsum.RegistrarUnavailable, AdsumError),
    "cluster_unavailable": (adsum.ClusterUnavailable, AdsumError),
    "invalid_cluster_address": (adsum.InvalidClusterAddress, ValueError),
    "permission_denied": (adsum.PermissionDenied, PermissionError),
    "corrupt_registry": (adsum.CorruptRegistry, AdsumError),
    "wrong_namespace": (adsum.WrongNamespace, AdsumError),
    "version_mismatch": (adsum.VersionMismatch, AdsumError),
    "unsupported_platform": (adsum.UnsupportedPlatform, AdsumError),
    "registry_closed": (adsum.RegistryClosed, AdsumError),
    "no_event_loop": (adsum.NoEventLoop, RuntimeError),
    "internal_error": (adsum.InternalError, AdsumError),
}


def all_errors() -> list[type[AdsumError]]:
    """Every class of the hierarchy, wherever in the package it is defined."""
    found, todo = [], [AdsumError]
    while todo:
        kind = todo.pop()
        found.append(kind)
        todo += kind.__subclasses__()
    return sorted(found, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("word", WORDS)
def test_every_error_has_its_word_and_its_class(word: str) -> None:
    """`reason` is the stable name of an error; its class also derives from the built-in class of the same kind."""
    kind, also = WORDS[word]
    assert kind.reason == word
    assert issubclass(kind, AdsumError)
    assert issubclass(kind, also)
    assert kind("what happened; what to do").reason == word


def test_every_error_can_be_named() -> None:
    """Every error that adsum raises has a public class, and every class has a reason of its own."""
    assert {kind.__name__ for kind in all_errors()} <= set(adsum.__all__)
    assert len({kind.reason for kind in all_errors()}) == len(all_errors())


def test_every_error_crosses_the_socket() -> None:
    """An error that the registrar answers with is the same class at the client."""
    assert set(BY_REASON) >= set(WORDS)
    assert all(BY_REASON[word] is kind for word, (kind, _) in WORDS.items())


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_every_error_pickles(kind: type[AdsumError]) -> None:
    """Class, message, notes and reason survive pickling, with every protocol."""
    error = kind("what happened; what to do")
    error.add_note("seen in a test")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(error, protocol))
        assert type(copy) is kind
        assert str(copy) == "what happened; what to do"
        assert copy.args == error.args
        assert copy.__notes__ == ["seen in a test"]


def test_fields_survive_pickling(registry: Registry) -> None:
    """The entry in `AlreadyRegistered` survives pickling."""
    registry.register("a", custom={"deep": [{"x": 1}]}, capabilities={"y"})
    with pytest.raises(AlreadyRegistered) as caught:
        registry.register("a")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert copy.entry == caught.value.entry == registry["a"]
    assert str(copy) == str(caught.value)


def fail(folder: str, how: str) -> None:
    """Raise an error of the registry. Runs in another process."""
    with adsum.open(path=folder, timeout=10) as registry:
        if how == "stale":
            registry.update("a", if_incarnation=99)
        registry.register("a")


def test_errors_cross_processes(registry: Registry) -> None:
    """An error raised in a worker of a process pool keeps its class and fields."""
    entry = registry.register("a").entry
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        error = pool.submit(fail, str(registry.folder), "already").exception()
        assert isinstance(error, AlreadyRegistered)
        assert error.entry == entry
        assert isinstance(pool.submit(fail, str(registry.folder), "stale").exception(), Stale)


def test_a_damaged_folder_is_named(registry_folder: Path) -> None:
    """`CorruptRegistry` names the damaged file and the remedy."""
    registry_folder.mkdir(mode=0o700)
    (registry_folder / "page").write_bytes(b"nonsense")
    with (
        pytest.raises(adsum.CorruptRegistry, match=f"{registry_folder}/page.*remove the folder"),
        adsum.open(path=registry_folder) as registry,
    ):
        registry.lookup("a")


async def test_a_plain_statement_about_an_async_object_says_what_to_write(registry_folder: Path) -> None:
    """``with`` and ``for`` where asyncio needs ``async with`` and ``async for``: the `TypeError` says so. A superfluous
    await of the registry gives the registry."""
    async with (
        adsum.open_async(path=registry_folder, timeout=10) as registry,
        await registry.register("a") as registration,
        registry.watch() as watch,
    ):
        for thing in (registry, registration, watch):
            with pytest.raises(TypeError, match=rf"{type(thing).__name__} is for asyncio: write `async with`"):
                thing.__enter__()  # type: ignore[union-attr]
        with pytest.raises(TypeError, match="write `async with`"), registry:  # type: ignore[attr-defined]
            pass
        with pytest.raises(TypeError, match="write `async for`"):
            iter(watch)  # type: ignore[call-overload]
        assert await registry is registry
