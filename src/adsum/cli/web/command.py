"""``adsum web``: serves the pages of a registry."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

from cyclopts import Parameter

from ... import Registry
from ...views.host_header import host_name, known_hosts
from .. import REGISTRY_ERROR
from ..absence import check_registry
from ..options import DEFAULT_REGISTRY, FLAG, RegistryOptions, UsageError
from ..output.render import printable
from .listening import ListenAddress, listening, parse_address

if TYPE_CHECKING:
    from ...cards import Site

TOKEN_VARIABLE = "ADSUM_WEB_TOKEN"
SHORT_TOKEN = 16
_SECRET = (
    f"give a secret that clients have to know: {TOKEN_VARIABLE}=$(python3 -c 'import secrets; "
    "print(secrets.token_urlsafe())')"
)
_EXTRA = ("starlette", "anyio", "jinja2", "markupsafe", "uvicorn", "h11", "click")


def web(
    *,
    listen: Annotated[
        str, Parameter(metavar="ADDRESS", help="HOST:PORT, or unix:PATH for a Unix socket; port 0 takes a free one.")
    ] = "127.0.0.1:8470",
    token: Annotated[
        str | None,
        Parameter(
            metavar="TOKEN",
            show_default=False,
            help="A secret that each client has to give. Better in the environment, as ADSUM_WEB_TOKEN: other users of "
            "this machine can see options.",
        ),
    ] = None,
    allow_host: Annotated[
        tuple[str, ...],
        Parameter(
            metavar="NAME",
            negative=(),
            show_default=False,
            help="Serve browsers that ask for this name, too, as behind a proxy. Repeat the option for several.",
        ),
    ] = (),
    prefix: Annotated[
        str, Parameter(metavar="PATH", show_default=False, help="Serve below this path, as behind a proxy.")
    ] = "",
    allow_writes: Annotated[
        bool,
        FLAG,
        Parameter(help="Let the pages set the health of members and unregister them. Needs a token, or a Unix socket."),
    ] = False,
    publisher: Annotated[
        str,
        Parameter(
            metavar="DOMAIN",
            show_default=False,
            help="Domain in whose name cards of members are published. Default: agent.localhost.",
        ),
    ] = "",
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """Serve web pages of the registry: members live, departures, events, team, and a JSON API.

    ```console
    $ adsum web
    $ adsum web --listen unix:/run/user/1000/adsum-web.sock
    $ ADSUM_WEB_TOKEN=$(cat token) adsum web --listen 0.0.0.0:8470 --allow-host build-7
    ```

    Clients of A2A and MCP find the cards of members there, too; see adsum catalog. The pages cover all namespaces, or
    the one that --namespace names. They change nothing unless --allow-writes is given, start no registrar, and work
    while one is stopped. Every user of this machine can reach the port, and read them; a Unix socket is for this user
    alone. An address that other machines can reach needs a token, and so does every port with --allow-writes. The
    command ends with 0 at Ctrl-C, SIGTERM or SIGHUP. Where there is no registry, the command says so, and so do the
    pages until one is made. Needs: pip install 'adsum[web]'
    """
    address = parse_address(listen)
    token = _token(token, address, writes=allow_writes)
    prefix = _checked_prefix(prefix)
    site = _card_site(publisher)
    try:
        from ...web import app
        from .serving import PrefixedApplication, serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        return _fail(f"this needs {error.name}; run: pip install 'adsum[web]'")
    _check_names(allow_host)
    with options.open() as registry:
        # One that is made later is found.
        check_registry(registry, options)
        application = app(
            registry,
            namespace=options.namespace,
            node=options.node,
            allow_writes=allow_writes,
            token=token,
            hosts=(*allow_host, *_own_names(address)),
            any_address=not address.is_local,
            cards=site,
        )
        try:
            with listening(address) as (sock, bound):
                serve(
                    PrefixedApplication(application, prefix) if prefix else application,
                    sock,
                    application.state.site.broadcaster.close,
                    lambda: _announce(bound, prefix, token, registry),
                )
        except OSError as error:
            return _fail(f"cannot listen on {address}: {error.strerror or error}; choose another with --listen")
    return 0


def _card_site(publisher: str) -> Site:
    from ...cards import Site

    try:
        return Site(publisher=publisher) if publisher else Site()
    except ValueError as error:
        raise UsageError(f"--{error}") from error


def _check_names(names: tuple[str, ...]) -> None:
    """Errors: `UsageError` where an option is no name of a host."""
    try:
        known_hosts(names)
    except ValueError as error:
        raise UsageError(f"--allow-host {error}") from error


def _token(option: str | None, address: ListenAddress, *, writes: bool) -> str | None:
    """The token that is asked for. Errors: `UsageError` where one is needed."""
    token = option if option is not None else os.environ.get(TOKEN_VARIABLE) or None
    if token == "":
        raise UsageError("--token '': give a secret, or leave the option out")
    if token is None and not address.is_local:
        raise UsageError(f"--listen {address}: other machines can reach it, so {_SECRET}")
    if token is None and writes and address.path is None:
        raise UsageError(
            f"--allow-writes needs a token, because every user of this machine can reach {address}: {_SECRET}; or "
            "listen on a Unix socket, which only you can reach: --listen unix:PATH"
        )
    if token is not None and len(token) < SHORT_TOKEN and not address.is_local:
        print(f"adsum: the token has {len(token)} characters, and can be guessed; take a longer one", file=sys.stderr)
    return token


def _checked_prefix(prefix: str) -> str:
    path = prefix.rstrip("/")
    if path and (not path.startswith("/") or any(part in ("", ".", "..") for part in path[1:].split("/"))):
        raise UsageError(f"--prefix {prefix}: give a path, such as /adsum")
    return path


def _own_names(address: ListenAddress) -> tuple[str, ...]:
    """The names by which this machine is asked for at an address. A machine may have a name that no client can send."""
    if address.path is not None:
        return ()
    host = f"[{address.host}]" if ":" in address.host else address.host
    names = (host,) if address.is_local else (host, socket.gethostname(), socket.getfqdn())
    return tuple(name for name in names if host_name(name))


def _announce(address: ListenAddress, prefix: str, token: str | None, registry: Registry) -> None:
    where = address.url if address.path is not None else f"{address.url.rstrip('/')}{quote(prefix)}/"
    print(f"serving {where} of {printable(str(registry.folder))}", flush=True)
    if token is not None:
        print("clients give the token: a browser in a form, a program as Authorization: Bearer TOKEN", flush=True)


def _fail(message: str) -> int:
    print(f"adsum: {message}", file=sys.stderr)
    return REGISTRY_ERROR
