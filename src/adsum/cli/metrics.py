"""``adsum metrics``: a page for Prometheus."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

from cyclopts import Parameter

from . import REGISTRY_ERROR
from .options import ANYWHERE, Place, UsageError

_EXTRA = "prometheus_client"
_ENDS = (signal.SIGINT, signal.SIGTERM)


def metrics(
    *,
    listen: Annotated[str, Parameter(metavar="HOST:PORT", help="Where to serve the page; port 0 for a free one.")] = (
        "127.0.0.1:9464"
    ),
    once: Annotated[
        bool, Parameter(negative=(), show_default=False, help="Print the page and end, instead of serving it.")
    ] = False,
    place: Place = ANYWHERE,
) -> int:
    """Serve the registry's metrics over HTTP, as Prometheus reads them.

    ```console
    $ adsum metrics --listen 127.0.0.1:9464
    ```

    The page is of the whole registry, all namespaces. Reading it neither starts a registrar nor changes anything. It
    ends with 0 at Ctrl-C or SIGTERM. Whoever can reach the port can read it. Needs: pip install 'adsum[prometheus]'
    """
    host, port = _parse(listen)
    try:
        from prometheus_client import CollectorRegistry, generate_latest, start_http_server

        from ..telemetry.prometheus import Collector
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != _EXTRA:
            raise
        return _fail("this needs prometheus_client; run: pip install 'adsum[prometheus]'")
    with place.open() as registry:
        page = CollectorRegistry()
        page.register(Collector(registry))
        if once:
            print(generate_latest(page).decode(), end="")
            return 0
        # Blocked before there are threads, so that no thread takes what is waited for here.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
        try:
            server, thread = start_http_server(port, host, page)
        except OSError as error:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return _fail(f"cannot listen on {listen}: {error.strerror or error}; choose another with --listen")
        try:
            shown = f"[{host}]" if ":" in host else host
            print(f"serving http://{shown}:{server.server_port}/metrics of {registry.folder}", flush=True)
            signal.sigwait(_ENDS)
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return 0


def _parse(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not port.isascii() or int(port) > 65535:
        raise UsageError(f"--listen {listen}: give HOST:PORT, such as 127.0.0.1:9464 or [::1]:9464")
    return host, int(port)


def _fail(message: str) -> int:
    print(f"adsum: {message}", file=sys.stderr)
    return REGISTRY_ERROR
