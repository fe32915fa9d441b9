"""`AsyncRegistry` with its writes awaited on the spot, so that one test runs on both kinds of registry."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import adsum
from adsum import AsyncRegistration, AsyncRegistry, AsyncWatch, Event, Registry, Timeout

if TYPE_CHECKING:
    # Processes of the previous release, which does not have it, import this module too.
    from adsum import AsyncClaim, AsyncRegistrations


class Opener(Protocol):
    """Opens registries of one kind; takes the arguments of `adsum.open`, and has defaults for them."""

    def __call__(self, **arguments: Any) -> Registry: ...


class Awaited:
    """An `AsyncRegistry`, `AsyncRegistration` or `AsyncClaim` with the interface of its twin: awaitables are awaited in
    an event loop of the test; everything else is passed through."""

    def __init__(self, inner: AsyncRegistry | AsyncRegistration | AsyncClaim, runner: asyncio.Runner) -> None:
        vars(self).update(inner=inner, runner=runner)

    def __getattr__(self, name: str) -> Any:
        if name == "stand_by":
            return self._stand_by
        if name == "claim":
            return self._claim
        value = getattr(self.inner, name)
        # The test awaits the future of `register_nowait` itself, with `result`.
        if not callable(value) or name == "register_nowait":
            return value

        def call(*args: Any, **named: Any) -> Any:
            result = value(*args, **named)
            # Not all that has `__await__`: an object may have it only to say that it is not to be awaited.
            is_awaited = asyncio.iscoroutine(result) or asyncio.isfuture(result)
            return self._twin(self._settled(result) if is_awaited else result)

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

    def _stand_by(self, *args: Any, **named: Any) -> AwaitedFuture:
        """A future, as of `Registry.stand_by`: on return it has its position, or the error is raised at once."""
        registry = self._mapping

        async def begin() -> asyncio.Task[Any]:
            task = asyncio.ensure_future(registry.stand_by(*args, **named))
            await asyncio.sleep(0)
            if not task.done():
                # Sent later on the same connection, so answered later.
                await registry.unregister("nobody at all")
                await asyncio.sleep(0)
            return task

        future = AwaitedFuture(self.runner.run(begin()), self)
        if future.done():
            future.result()
        return future

    def _claim(self, *args: Any, **named: Any) -> Awaited:
        return Awaited(self._settled(self._mapping.claim(*args, **named)), self.runner)

    def _settled(self, awaitable: Awaitable[Any]) -> Any:
        async def wait() -> Any:
            return await awaitable

        return self.runner.run(wait())

    def _twin(self, value: Any) -> Any:
        if isinstance(value, AsyncRegistration):
            return Awaited(value, self.runner)
        if isinstance(value, adsum.AsyncRegistrations):
            return AwaitedRegistrations(value, self)
        if isinstance(value, AsyncWatch):
            return AwaitedWatch(value, self.runner)
        return [self._twin(part) for part in value] if isinstance(value, list) else value


class AwaitedRegistrations(list[Any]):
    """`AsyncRegistrations` with the interface of `Registrations`."""

    def __init__(self, inner: AsyncRegistrations, registry: Awaited) -> None:
        super().__init__(registry._twin(one) for one in inner)
        self.inner = inner
        self._registry = registry

    def unregister(self, **named: Any) -> Any:
        return self._registry._settled(self.inner.unregister(**named))

    def __enter__(self) -> AwaitedRegistrations:
        self._registry._settled(self.inner.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._registry._settled(self.inner.__aexit__(kind, error, traceback))


class AwaitedWatch:
    """An `AsyncWatch` with the interface of a `Watch`."""

    def __init__(self, inner: AsyncWatch, runner: asyncio.Runner) -> None:
        self.inner = inner
        self.runner = runner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __enter__(self) -> AwaitedWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.run(self.inner.__aexit__())

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        async def one() -> Event | None:
            return await anext(self.inner, None)

        if (event := self.runner.run(one())) is None:
            raise StopIteration
        return event

    def next(self, timeout: float | None = None) -> Event:
        async def one() -> Event:
            task = asyncio.ensure_future(self.inner.next())
            # An event that is available already is returned however short the timeout.
            await asyncio.sleep(0)
            await asyncio.wait([task], timeout=timeout)
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
                raise Timeout("no event came")
            return task.result()

        return self.runner.run(one())


class AwaitedFuture:
    """A task with the interface of a `concurrent.futures.Future`. It runs only during calls of its methods."""

    def __init__(self, task: asyncio.Task[Any], registry: Awaited) -> None:
        self._task = task
        self._registry = registry

    def done(self) -> bool:
        self._registry.runner.run(asyncio.sleep(0))
        return self._task.done()

    def cancelled(self) -> bool:
        return self.done() and self._task.cancelled()

    def cancel(self) -> bool:
        self._task.cancel()
        self._registry.runner.run(asyncio.wait([self._task]))
        return self._task.cancelled()

    def result(self, timeout: float | None = None) -> Any:
        async def wait() -> Any:
            return await asyncio.wait_for(asyncio.shield(self._task), timeout)

        return self._registry._twin(self._registry.runner.run(wait()))
