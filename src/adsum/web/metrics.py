"""The metrics of the registry, in the format of Prometheus, where the extra for it is installed."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from .site import site_of


async def metrics(request: Request) -> Response:
    """The metrics, as ``adsum metrics`` serves them."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

        from ..telemetry.prometheus import Collector
    except ModuleNotFoundError:
        return PlainTextResponse("this needs prometheus_client; run: pip install 'adsum[prometheus]'\n", 501)
    page = CollectorRegistry()
    page.register(Collector(site_of(request).registry))
    # It reads all entries that have gauges.
    text = await run_in_threadpool(generate_latest, page)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})
