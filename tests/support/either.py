"""`AsyncRegistry` with its writes awaited on the spot, so that one test speaks of both kinds of registry."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import TracebackType
from typing import Any, Protocol

from adsum import AsyncRegistration, AsyncRegistry, Registry


class Opener(Protocol):
    """Opens a registry of one kind; the arguments are those of `adsum.open`, which it fills in."""

    def __call__(self, **arguments: Any) -> Registry: ...


class Awaited:
    """An `AsyncRegistry` or `AsyncRegistration` that looks like its synchronous twin: what can be awaited is awaited,
    in an event loop of the test's own; everything else is passed through."""

    def __init__(self, inner: AsyncRegistry | AsyncRegistration, runner: asyncio.Runner) -> None:
        vars(self).update(inner=inner, runner=runner)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        # A future is what `register_nowait` is for; awaiting is left to the test (`result`).
        if not callable(value) or name == "register_nowait":
            return value

        def call(*args: Any, **named: Any) -> Any:
            result = value(*args, **named)
            return self._twin(self._settled(result)) if isinstance(result, Awaitable) else result

        return call

    def __enter__(self) -> Awaited:
        self._settled(self.inner.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._settled(self.inner.__aexit__(kind, error, traceback))

    def __repr__(self) -> str:
        return repr(self.inner)

    def __contains__(self, id: object) -> bool:
        return id in self._mapping

    def __getitem__(self, id: Any) -> Any:
        return self._mapping[id]

    def __iter__(self) -> Any:
        return iter(self._mapping)

    def __len__(self) -> int:
        return len(self._mapping)

    @property
    def _mapping(self) -> AsyncRegistry:
        assert isinstance(self.inner, AsyncRegistry)
        return self.inner

    def _settled(self, awaitable: Awaitable[Any]) -> Any:
        async def wait() -> Any:
            return await awaitable

        return self.runner.run(wait())

    def _twin(self, value: Any) -> Any:
        if isinstance(value, AsyncRegistration):
            return Awaited(value, self.runner)
        return [self._twin(part) for part in value] if isinstance(value, list) else value
