"""A server for `adsum.cards.respond`, made of the standard library alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from adsum import Registry, cards


class Handler(BaseHTTPRequestHandler):
    """Passes each request to `respond`, and any path that is none of its to a 404 of its own."""

    protocol_version = "HTTP/1.1"
    registry: Registry
    site: cards.Site

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""

    def _answer(self) -> None:
        path, _, query = self.path.partition("?")
        request = cards.Request(
            self.command,
            path,
            query,
            dict(self.headers.items()),
            self.rfile.read(int(self.headers.get("Content-Length", 0))),
            f"http://{self.headers['Host']}",
        )
        response = cards.respond(self.registry, request, self.site)
        if response is None:
            response = cards.Response(404, {"Content-Length": "0", "X-Other": "yes"})
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.status not in (204, 304) and "Content-Length" not in response.headers:
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body)

    # The names that the base class looks for.
    do_GET = do_HEAD = do_POST = do_PUT = do_OPTIONS = _answer  # noqa: N815


@contextmanager
def serving(registry: Registry, site: cards.Site | None = None) -> Iterator[str]:
    """A server on a free port of the loopback; its base URL."""
    handler = type("Bound", (Handler,), {"registry": registry, "site": site or cards.Site()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="cards-server")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
