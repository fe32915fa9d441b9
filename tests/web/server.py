"""`adsum web` as a process, and a client that reads its streams line by line."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from tests.support import WITHIN, Child

S = TypeVar("S", bound="Server")
_SERVING = re.compile(r"serving (\S+) of (\S+)")
_CODE = "import runpy, sys; sys.argv[0] = 'adsum'; runpy.run_module('adsum.cli', run_name='__main__')"


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def document(self) -> Any:
        return json.loads(self.text)


class Message(NamedTuple):
    """One event of a stream."""

    name: str
    id: str
    data: Any


class Server:
    """`adsum web`, started, with its address."""

    def __init__(
        self, folder: Path, *options: str, listen: str = "127.0.0.1:0", env: Mapping[str, str] | None = None
    ) -> None:
        environment = {**os.environ, "NO_COLOR": "1", **(env or {})}
        self.child = Child(_CODE, "web", "--path", folder, "--listen", listen, *options, env=environment)
        try:
            said = _SERVING.fullmatch(self.child.line())
            assert said is not None
        except BaseException:
            self.child.close()
            raise
        self.url, self.folder = said[1], Path(said[2])
        parts = urlsplit(self.url)
        self.host, self.port, self.path = parts.hostname or "", parts.port or 0, parts.path.rstrip("/")

    def __enter__(self: S) -> S:
        return self

    def __exit__(self, _kind: object, _error: object, _traceback: TracebackType | None) -> None:
        self.child.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET", body: str = "") -> Answer:
        """The answer to a request; redirects are not followed."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=WITHIN)
        return _answer(connection, method, self.path + path, headers, body)

    def stream(self, path: str, headers: Mapping[str, str] | None = None) -> Stream:
        """The messages of a stream, from now on. Close it."""
        return Stream(self.host, self.port, self.path + path, headers or {})


class UnixConnection(http.client.HTTPConnection):
    """A connection to a server at a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=WITHIN)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(WITHIN)
        self.sock.connect(str(self._path))


def get_over_unix(socket_path: Path, path: str) -> Answer:
    """The answer of a server at a Unix socket."""
    return _answer(UnixConnection(socket_path), "GET", path, None, "")


def _answer(
    connection: http.client.HTTPConnection, method: str, path: str, headers: Mapping[str, str] | None, body: str
) -> Answer:
    try:
        connection.request(method, path, body=body or None, headers=dict(headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.headers), answer.read().decode())
    finally:
        connection.close()


class Stream:
    """An open stream of events."""

    def __init__(self, host: str, port: int, path: str, headers: Mapping[str, str]) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=WITHIN)
        self._connection.request("GET", path, headers={"Accept": "text/event-stream", **headers})
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200, self._answer.read()
        assert self._answer.headers["Content-Type"].startswith("text/event-stream")

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()
        self._answer.close()

    def next(self) -> Message:
        """The next event; comments and settings are passed over."""
        return next(self._messages())

    def until(self, field: str) -> Message:
        """The next event whose data has this field."""
        while field not in (message := self.next()).data:
            pass
        return message

    def _messages(self) -> Iterator[Message]:
        fields: dict[str, str] = {}
        until = time.monotonic() + WITHIN
        while time.monotonic() < until:
            line = self._answer.readline().decode()
            if not line:
                raise EOFError("the stream ended")
            name, _, value = line.rstrip("\n").partition(": ")
            if line == "\n" and "data" in fields:
                yield Message(fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"]))
                fields = {}
            elif line != "\n" and name:
                fields[name] = value
        raise AssertionError(f"no event within {WITHIN:g} s; {fields}")

    def ends(self) -> bool:
        """Whether the stream ends, whatever comes before."""
        try:
            while self._answer.readline():
                pass
        except TimeoutError:
            return False
        return True
