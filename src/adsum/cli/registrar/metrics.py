"""``adsum metrics``: serves the registry's metrics to Prometheus."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from .. import NOT_FOUND, REGISTRY_ERROR
from ..absence import check_registry
from ..address import Address, parse_address
from ..options import DEFAULT_REGISTRY, FLAG, RegistryOptions

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_EXTRA = "prometheus_client"
_END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def metrics(
    *,
    listen: Annotated[
        str, Parameter(metavar="HOST:PORT", help="The address to listen on; port 0 takes a free one.")
    ] = ("127.0.0.1:9464"),
    once: Annotated[bool, FLAG, Parameter(help="Print the metrics once instead of serving them.")] = False,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """Serve the registry's metrics over HTTP, in the format of Prometheus.

    ```console
    $ adsum metrics --listen 127.0.0.1:9464
    ```

    The metrics cover all namespaces of the registry. Reading them neither starts a registrar nor changes anything. The
    command ends with 0 at Ctrl-C, SIGTERM or SIGHUP. Every process that can reach the port can read the metrics. Needs:
    pip install 'adsum[prometheus]'

    Where there is no registry, the command says so, and adsum_up is 0. Exit code 1 with --once then; without it the
    command serves, and finds one that is made later.
    """
    address = parse_address("--listen", listen, "127.0.0.1:9464")
    try:
        from prometheus_client import CollectorRegistry, generate_latest

        from ...telemetry.prometheus import Collector
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != _EXTRA:
            raise
        return _fail("this needs prometheus_client; run: pip install 'adsum[prometheus]'")
    with options.open() as registry:
        page = CollectorRegistry()
        page.register(Collector(registry))
        # Where it serves, a registry that is made later is found.
        exists = check_registry(registry, options)
        if not once:
            return _serve(page, address, registry.folder)
        print(generate_latest(page).decode(), end="")
        return 0 if exists else NOT_FOUND


def _serve(page: CollectorRegistry, address: Address, folder: Path) -> int:
    """Serve the page until a signal asks to end."""
    from prometheus_client import start_http_server

    # A signal that was ignored from the start, such as SIGHUP under nohup(1), stays ignored: sigwait would return it.
    ends = [number for number in _END_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    # Blocked before the server starts threads, so that no thread receives the signals that sigwait waits for.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    try:
        server, thread = start_http_server(address.port, address.host, page)
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return _fail(f"cannot listen on {address}: {error.strerror or error}; choose another with --listen")
    try:
        print(f"serving http://{address._replace(port=server.server_port)}/metrics of {folder}", flush=True)
        signal.sigwait(ends)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return 0


def _fail(message: str) -> int:
    print(f"adsum: {message}", file=sys.stderr)
    return REGISTRY_ERROR
