"""An argument of the wrong kind is refused in the caller's process, by its name, before anything is sent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import AdsumError, InternalError, Limits, Registry
from tests.support import Opener

FLAGS = (1, 0, None, "yes", object())
SECONDS = ("1", float("nan"), True, [1], 1j)
NUMBERS = ("1", 1.5, True, -1, [1])
FUNCTIONS = (1, "len", [len])
TEXTS = (1, b"x", "", "\ud800", ["x"])

# By call: its arguments that can be wrong, those that have to be given, and by name of each what is wrong for it.
CALLS: list[tuple[str, tuple[Any, ...], dict[str, tuple[Any, ...]]]] = [
    ("register", ("x",), {"replace": FLAGS, "everywhere": FLAGS, "timeout": SECONDS}),
    ("register_nowait", ("x",), {"replace": FLAGS, "timeout": SECONDS}),
    ("register_many", ([("x", {})],), {"replace": FLAGS, "timeout": SECONDS}),
    ("get_or_register", ("x",), {"timeout": SECONDS}),
    ("stand_by", ("x",), {"everywhere": FLAGS, "timeout": SECONDS}),
    (
        "update",
        ("held",),
        {"merge": FLAGS, "if_revision": NUMBERS, "if_incarnation": ("1", 1.5, True, [1]), "timeout": SECONDS},
    ),
    ("update_health", ("held", "healthy"), {"if_incarnation": ("1", 1.5, True), "timeout": SECONDS}),
    ("update_many", ([("held", {})],), {"timeout": SECONDS}),
    ("unregister", ("held",), {"if_incarnation": ("1", 1.5, True), "timeout": SECONDS}),
    ("unregister_many", (["held"],), {"timeout": SECONDS}),
    ("heartbeat", ("held",), {"timeout": SECONDS}),
    ("claim", ("held",), {"everywhere": FLAGS, "timeout": SECONDS}),
    ("member", ("x",), {"timeout": SECONDS}),
    ("lookup", ("held",), {"unreachable": FLAGS}),
    (
        "find",
        (),
        {"unreachable": (1, "yes", None), "limit": NUMBERS, "where": FUNCTIONS, "node": TEXTS, "hosts": TEXTS},
    ),
    ("find", (), {"id_prefix": TEXTS, "text": TEXTS, "namespace": TEXTS, "capability": (1, b"x", "", "\ud800")}),
    ("count", (), {"where": FUNCTIONS, "pid": ("1", 1.5, True, -1)}),
    ("choose", (), {"by": (1, "worst", None), "where": FUNCTIONS}),
    ("departures", (), {"limit": NUMBERS}),
    ("watch", (), {"since": ("1", 1.5, True, -1), "where": FUNCTIONS, "on_event": FUNCTIONS}),
    ("follow", (), {"where": FUNCTIONS}),
    ("wait_for", (), {"count": NUMBERS, "timeout": SECONDS, "where": FUNCTIONS}),
    ("wait_until_gone", ("held",), {"timeout": SECONDS}),
    ("catch_up", (), {"timeout": SECONDS}),
]


@pytest.fixture
def held(either: Registry) -> Registry:
    either.register("held", heartbeat=60)
    return either


def call_and_enter(registry: Registry, call: str, *given: object, **named: object) -> None:
    """A claim asks only when it is entered."""
    result = getattr(registry, call)(*given, **named)
    getattr(result, "__enter__", lambda: None)()


@pytest.mark.parametrize(
    ("call", "given", "wrong"), CALLS, ids=[f"{call}-{'-'.join(wrong)}" for call, _, wrong in CALLS]
)
def test_a_wrong_argument_is_named(
    held: Registry, call: str, given: tuple[Any, ...], wrong: dict[str, tuple[Any, ...]]
) -> None:
    """The error has the name of the argument. It is no defect, it is raised in this process, and nothing changes."""
    if call == "register_nowait" and not isinstance(held, Registry):
        pytest.skip("in an AsyncRegistry it is a task of register")
    before = held.stats().revision
    for name, values in wrong.items():
        for value in values:
            with pytest.raises((AdsumError, TypeError, ValueError), match=rf"\b{name}\b") as refused:
                call_and_enter(held, call, *given, **{name: value})
            assert not isinstance(refused.value, InternalError)
    assert held.stats().revision == before
    assert "refused" not in (held.folder / "registrar.log").read_text()


def test_values_that_are_too_large_for_the_machine(held: Registry) -> None:
    """A bound beyond all numbers of the machine is as good as none."""
    held.unregister("held")
    assert len(held.departures(limit=2**63)) == len(held.departures(limit=2**200)) == 1
    assert held.find(limit=2**63) == []


@pytest.mark.parametrize("path", ["\ud800", "a/\udfff"])
def test_a_path_that_no_file_can_have(opener: Opener, path: str) -> None:
    """A path with a character that no file name can have is refused as `InvalidName`."""
    with pytest.raises(adsum.InvalidName, match="path="):
        opener(path=path)


def test_a_path_with_bytes_that_are_no_text(registry_folder: Path) -> None:
    """A path from `os.listdir` may encode bytes that are no UTF-8 as surrogates: it is a path as any other."""
    with adsum.open(path=registry_folder.with_name("caf\udce9")) as registry:
        registry.register("a")
        assert registry.lookup("a") is not None


def test_a_bound_that_there_is_not() -> None:
    """A misspelt bound is named, with the one that may be meant."""
    with pytest.raises(TypeError, match=r"Limits.max_entires: no such bound; do you mean max_entries\? the bounds are"):
        Limits(max_entires=3)  # type: ignore[call-arg]
    assert Limits(max_entries=3) == Limits(100 * 1024 * 1024, max_entries=3)


def test_metadata_that_is_none(either: Registry) -> None:
    """Every message writes ``None`` for None, and not the name of its class."""
    with pytest.raises(adsum.InvalidMetadata, match="expected `dict`, got `None`"):
        either.register_many([("x", None)])  # type: ignore[list-item]
    with pytest.raises(adsum.InvalidMetadata, match="got `None`"):
        either.register("x", custom=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("events", [3, object(), ..., int])
def test_events_that_are_none(events: Any) -> None:
    """`attach` refuses what names no events, and gives an example."""
    with pytest.raises(TypeError, match=r"events=.*give names of events"):
        adsum.telemetry.attach(print, events=events)


@pytest.mark.parametrize("events", [["adsum.none"], [["adsum.register"]], {1: 2}, "adsum.none", [3]])
def test_events_that_there_are_not(events: Any) -> None:
    """`attach` refuses names of unknown events, of any type, and lists the events."""
    with pytest.raises(ValueError, match=r"no such event: .*; the events are adsum\.register"):
        adsum.telemetry.attach(print, events=events)


@pytest.mark.parametrize("predicate", [None, True, "len"])
async def test_a_predicate_that_is_no_function(registry_folder: Path, predicate: Any) -> None:
    """A wait for a predicate that cannot be called says what to give."""
    said = r"predicate=.*give a function"
    with adsum.open(path=registry_folder) as registry, pytest.raises(TypeError, match=said):
        registry.follow().wait(predicate, timeout=10)
    async with adsum.open_async(path=registry_folder) as registry_async:
        with pytest.raises(TypeError, match=said):
            await registry_async.follow().wait(predicate, timeout=10)


def _in_coroutine(thing: Any) -> Callable[[], object]:
    async def use() -> None:
        async with thing:
            raise AssertionError("entered")

    return lambda: use().send(None)


def test_async_with_around_a_plain_object_says_what_to_write(registry: Registry) -> None:
    """``async with`` where ``with`` is right: the `TypeError` says so."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        things: list[Any] = [registry, registry.register("a"), registry.register_many([("b", {}), ("c", {})])]
        with registry.watch() as watch, registry.follow() as entries, registry.claim("a") as claim:
            for thing in (*things, watch, entries, claim):
                said = rf"{type(thing).__name__} is not for asyncio: write `with` here.*adsum\.open_async"
                with pytest.raises(TypeError, match=said):
                    _in_coroutine(thing)()
        # Nothing was entered, so nothing was left.
        assert len(registry) == 3
    finally:
        over.set()
        thread.join()
