"""The lifespan of an application with a member in it.

The order counts. The application's own startup comes first, so a member that can be found has started. The server
binds its sockets only after the startup of the lifespan, or has bound them before it forked this process. So the member
is registered as unhealthy and without an endpoint, and a task looks for the sockets. At the end the entry is removed
before the application shuts down.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias, Unpack

from .. import AsyncMetadataKeywords, AsyncRegistration, AsyncRegistry, HealthStatus, ProcessId, open_async
from ..errors import AdsumError
from .listening import ListeningSocket, bound_endpoint, listening_sockets

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Any]]
Ready: TypeAlias = "Callable[[], bool | str | Awaitable[bool | str]]"

log = logging.getLogger("adsum")

# How often the task looks for the sockets of the server.
_LOOK_SECONDS = 0.02
# So long a socket counts that the server makes for itself. After that one counts which was there before: the server
# inherited it.
_OWN_SECONDS = 0.5
# How often a task is cancelled that goes on all the same.
_CANCEL_SECONDS = 0.5
_ID_OF_PROCESS = "{pid}"


def lifespan(
    id: str | ProcessId,
    *,
    registry: AsyncRegistry | None = None,
    inner: Lifespan | None = None,
    ready: Ready | None = None,
    interval: float = 5.0,
    scheme: str = "http",
    bind_timeout: float = 5.0,
    **metadata: Unpack[AsyncMetadataKeywords],
) -> Lifespan:
    """Make a lifespan in which the process that serves is a member, for ``FastAPI(lifespan=...)`` and its like.

    - `id`: its id; ``{pid}`` in it becomes the pid, for servers with several worker processes.
    - `registry`: an open `AsyncRegistry`, which stays open; by default the default registry, closed at the end. The
      application has it as ``request.state.adsum``.
    - `inner`: the application's own lifespan. It starts before the member is registered, and ends after it is removed.
    - `ready`: a function that says whether the application is ready: True and False, or a `HealthStatus`. It may be
      async. It is asked every `interval` seconds, and the health of the member changes with its answer. One that
      raises, or takes longer than `interval`, counts as unhealthy. Without it the member is healthy.
    - `scheme`: that of the endpoint's URL; ``"https"`` where the server speaks TLS.
    - `bind_timeout`: seconds after which the member can be healthy without an endpoint, where none was found; 0 to look
      for none.
    - `metadata`: that of `AsyncRegistry.register`, ``heartbeat="loop"`` included. Without `endpoint` it is the address
      at which the server listens, once it does: that of the first socket that this process makes after its start, else
      of one that it has inherited. The health is that of `ready`.

    Errors, at the start of the application: those of `AsyncRegistry.register`. `TypeError` for `health_status`.

    >>> lifespan = adsum.asgi.lifespan("api-{pid}", registry=registry, endpoint=None, capabilities={"api"})
    >>> async with lifespan(None) as state:
    ...     team = await state["adsum"].wait_for(capability="api", health_status="healthy", timeout=10)
    >>> team[0].process_id.local_id == f"api-{os.getpid()}", len(registry)
    (True, 0)
    """
    if "health_status" in metadata:
        raise TypeError("the health of the member is what ready= says; give a function, or leave it out")
    if not interval > 0 or not bind_timeout >= 0:
        raise ValueError(f"interval={interval!r}, bind_timeout={bind_timeout!r}: give seconds")
    fields: AsyncMetadataKeywords = {**metadata, "health_status": HealthStatus.unhealthy}
    reporter = _Reporter(ready, interval, scheme, 0.0 if "endpoint" in metadata else bind_timeout)

    @asynccontextmanager
    async def run(app: Any) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            state = await stack.enter_async_context(inner(app)) if inner is not None else None
            opened = registry if registry is not None else await stack.enter_async_context(open_async())
            before = listening_sockets()
            registration = await opened.register(_completed(id), **fields)
            stack.push_async_callback(_unregister, registration)
            task = asyncio.create_task(reporter.run(registration, before))
            stack.push_async_callback(_end, task)
            yield {**(state if isinstance(state, Mapping) else {}), "adsum": opened}

    return run


def _completed(id: str | ProcessId) -> str | ProcessId:
    pid = str(os.getpid())
    if isinstance(id, str):
        return id.replace(_ID_OF_PROCESS, pid)
    return ProcessId(*id)._replace(local_id=id[2].replace(_ID_OF_PROCESS, pid))


async def _unregister(registration: AsyncRegistration) -> None:
    try:
        await registration.unregister()
    except AdsumError as error:
        # The entry goes with the process in any case.
        log.warning("%s could not be unregistered: %s", registration.process_id, error)


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended: what the application awaits in it may swallow a cancellation."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_SECONDS)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("the task that reports the health has failed", exc_info=error)


class _Reporter:
    """Finds the endpoint of a member, unless its `bind_timeout` is 0, and reports its health from then on."""

    def __init__(self, ready: Ready | None, interval: float, scheme: str, bind_timeout: float) -> None:
        self._ready = ready
        self._interval = interval
        self._scheme = scheme
        self._bind_timeout = bind_timeout

    async def run(self, registration: AsyncRegistration, before: list[ListeningSocket]) -> None:
        """Report until this is cancelled. `before` are the sockets that were there when the application started."""
        endpoint = await self._find_endpoint(before)
        reported: HealthStatus | None = None
        while True:
            status = await self._status()
            try:
                if endpoint is not None:
                    await registration.update(endpoint=endpoint, health_status=status)
                elif status is not reported:
                    await registration.update_health(status)
                endpoint, reported = None, status
            except AdsumError as error:
                # The next round tries again.
                log.warning("%s could not report its health: %s", registration.process_id, error)
            if self._ready is None and reported is not None:
                return
            await asyncio.sleep(self._interval)

    async def _find_endpoint(self, before: list[ListeningSocket]) -> str | None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (waited := loop.time() - began) < self._bind_timeout:
            known = before if waited < _OWN_SECONDS else []
            if (found := bound_endpoint(self._scheme, known)) is not None:
                return found
            await asyncio.sleep(_LOOK_SECONDS)
        if self._bind_timeout:
            log.warning("no endpoint was found: this process listens at no socket; give endpoint=, or None for none")
        return None

    async def _status(self) -> HealthStatus:
        if self._ready is None:
            return HealthStatus.healthy
        try:
            answer = self._ready()
            if inspect.isawaitable(answer):
                async with asyncio.timeout(self._interval):
                    answer = await answer
            if isinstance(answer, str):
                return HealthStatus(answer)
            return HealthStatus.healthy if answer else HealthStatus.unhealthy
        except Exception as error:  # noqa: BLE001 - any error means that it is not ready
            log.warning("the application is not ready: %s: %s", type(error).__name__, error)
            return HealthStatus.unhealthy
