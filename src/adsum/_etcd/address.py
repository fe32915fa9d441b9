"""The address of a cluster: the servers of an etcd, the name of the cluster in it, and what TLS needs.

    etcd://[USER@]HOST[:PORT][,HOST[:PORT]...]/NAME
    etcds://HOST[:PORT][,...]/NAME?cert=FILE&key=FILE&ca=FILE

`etcds` is TLS. The files are PEM; where the address does not name one, ADSUM_ETCD_CERT, ADSUM_ETCD_KEY and
ADSUM_ETCD_CA do. A name without a leading / is one of the current folder at once: the address goes on to a bridge, and
to other programs, which work in other folders. USER is for an etcd that asks for passwords; the password is in
ADSUM_ETCD_PASSWORD and never in an address, which other users of the machine see in the list of processes.

This module imports no grpc, so that a program which only names a cluster does not pay for it.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn
from urllib.parse import parse_qsl, quote, unquote

import msgspec

from .._foreign import reraise_foreign
from ..errors import InvalidClusterAddress

DEFAULT_PORT = 2379
SCHEMES = {"etcd": False, "etcds": True}
_FILES = {"cert": "ADSUM_ETCD_CERT", "key": "ADSUM_ETCD_KEY", "ca": "ADSUM_ETCD_CA"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_EXAMPLE = "such as etcd://10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379/prod"


class EtcdMember(msgspec.Struct, frozen=True):
    """Where one server of an etcd listens: a host name or an IP address without brackets, and a port."""

    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def target(self) -> str:
        """The member as gRPC names it. An IP address is not looked up in the DNS."""
        try:
            return f"ipv{ipaddress.ip_address(self.host).version}:{self}"
        except ValueError:
            return f"dns:///{self}"


class TlsFiles(msgspec.Struct, frozen=True):
    """The PEM files of a TLS connection: this host's certificate and key, and the authority of the servers'. In what
    `parse` gives they begin with a /."""

    certificate: str | None = None
    key: str | None = None
    authority: str | None = None


class ClusterAddress(msgspec.Struct, frozen=True):
    """What an address says. `str` gives the address back, with the files of the environment written out."""

    members: tuple[EtcdMember, ...]
    name: str
    tls: TlsFiles | None = None
    user: str | None = None

    def __str__(self) -> str:
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        scheme, query = "etcd", ""
        if self.tls is not None:
            files = (self.tls.certificate, self.tls.key, self.tls.authority)
            query = "&".join(
                f"{name}={quote(os.fsencode(file))}" for name, file in zip(_FILES, files, strict=True) if file
            )
            scheme = "etcds"
        return f"{scheme}://{user}{','.join(map(str, self.members))}/{self.name}{'?' if query else ''}{query}"


def parse(text: str, environment: Mapping[str, str] = os.environ) -> ClusterAddress:
    """The cluster that an address names. Reads no file. `InvalidClusterAddress` says which part is wrong."""
    if not isinstance(text, str):
        raise InvalidClusterAddress(f"{text!r} is no address of a cluster: write a string {_EXAMPLE}")
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in SCHEMES:
        _refuse(text, f"it begins with neither etcd:// nor etcds://; write an address {_EXAMPLE}")
    if "#" in rest:
        _refuse(text, "it has a '#', which has no meaning there; write %23 in the name of a file")
    rest, _, query = rest.partition("?")
    hosts, _, name = rest.partition("/")
    if not _NAME.fullmatch(name):
        _refuse(
            text,
            f"the name of the cluster, after the '/', is {name!r}; "
            "write 1 to 64 letters, digits, '.', '_' or '-', of which the first is a letter or digit",
        )
    at = hosts.rfind("@")
    user = _user(text, hosts[:at]) if at >= 0 else None
    members = tuple(_member(text, part) for part in hosts[at + 1 :].split(","))
    twice = next((member for number, member in enumerate(members) if member in members[:number]), None)
    if twice is not None:
        _refuse(text, f"it names the etcd member {twice} twice; name each once")
    return ClusterAddress(members, name, _tls(text, SCHEMES[scheme], query, environment), user)


def _user(text: str, part: str) -> str:
    if ":" in part:
        _refuse(text.replace(part, "..."), "it holds a password; put that into ADSUM_ETCD_PASSWORD")
    user = unquote(part)
    if not user or not user.isprintable():
        _refuse(text, f"{part!r} before the '@' is no name of a user; write one, or leave out the '@'")
    return user


def _member(text: str, part: str) -> EtcdMember:
    if part.startswith("["):
        inner, bracket, rest = part[1:].partition("]")
        if not bracket or not _is_address(inner, 6):
            _refuse(text, f"{part!r} is no IPv6 address; write one such as [fd00::1]:2379, without a zone")
        return EtcdMember(inner.lower(), _port(text, part, rest))
    if part.count(":") > 1:
        _refuse(text, f"{part!r} has several ':'; write an IPv6 address in brackets, such as [fd00::1]:2379")
    host, colon, port = part.partition(":")
    if not host:
        _refuse(text, f"it names no host in {part!r}; write HOST:PORT, and a ',' only between two of them")
    digits = host.replace(".", "").isdigit()
    if not _HOST.fullmatch(host) or len(host) > 253 or (digits and not _is_address(host, 4)):
        _refuse(text, f"{host!r} is neither an IP address nor a host name")
    return EtcdMember(host.lower(), _port(text, part, colon + port))


def _is_address(host: str, version: int) -> bool:
    try:
        return "%" not in host and ipaddress.ip_address(host).version == version
    except ValueError:
        return False


def _port(text: str, part: str, written: str) -> int:
    if not written:
        return DEFAULT_PORT
    digits = written.removeprefix(":")
    if not written.startswith(":") or not re.fullmatch(r"[0-9]{1,5}", digits) or not 0 < int(digits) < 65536:
        _refuse(text, f"the port of {part!r} is no number from 1 to 65535")
    return int(digits)


def _tls(text: str, wanted: bool, query: str, environment: Mapping[str, str]) -> TlsFiles | None:
    try:
        given = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="surrogateescape")
    except ValueError:
        _refuse(text, f"{query!r} after the '?' is not of the form NAME=FILE&NAME=FILE")
    for number, (name, value) in enumerate(given):
        if name not in _FILES:
            _refuse(text, f"there is no parameter {name!r}; those that exist are {', '.join(_FILES)}")
        if not value or "\0" in value:
            _refuse(text, f"the parameter {name!r} names no file")
        if name in dict(given[:number]):
            _refuse(text, f"the parameter {name!r} is there twice")
    if not wanted:
        if given:
            _refuse(text, f"{given[0][0]!r} is a file for TLS; write etcds:// to use TLS")
        return None
    files = {name: dict(given).get(name) or environment.get(variable) or None for name, variable in _FILES.items()}
    if (files["cert"] is None) != (files["key"] is None):
        one, other = ("key", "cert") if files["cert"] is None else ("cert", "key")
        _refuse(text, f"there is a {one} without a {other}; add {other}=FILE or set {_FILES[other]}")
    return TlsFiles(*(None if file is None else _absolute(text, file) for file in files.values()))


def _absolute(text: str, file: str) -> str:
    try:
        # Symbolic links stay: a renewal of certificates may change where they lead.
        return str(Path(file).absolute())
    except OSError as error:
        reraise_foreign(error)
        _refuse(text, f"the current folder is gone, so {file!r} names no file; write its name from / on")


def _refuse(text: str, why: str) -> NoReturn:
    raise InvalidClusterAddress(f"{text!r} is no address of a cluster: {why}", address=text)
