"""Certificates for etcd servers and their clients, made for one test. A client's common name is its user in etcd."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class Certificates:
    """One authority, a certificate of the servers, and one for each user that is asked for; all files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self.authority = folder / "ca.pem"
        self.renew()

    def renew(self) -> None:
        """Another authority, with new certificates of the servers and of the users that have one."""
        self._authority = trustme.CA()
        self._authority.cert_pem.write_to_path(self.authority)
        users = [key.name.removesuffix("-key.pem") for key in self._folder.glob("*-key.pem")]
        for user in set(users) - {"server"}:
            self._write(user, self._authority.issue_cert(f"{user}.test", common_name=user))
        self._write("server", self._authority.issue_cert("127.0.0.1", "localhost"))

    def of_servers(self) -> dict[str, Path | str]:
        """Options of a server."""
        certificate, key = self._files("server")
        return {
            "cert-file": certificate,
            "key-file": key,
            "trusted-ca-file": self.authority,
            "client-cert-auth": "true",
        }

    def of_user(self, user: str) -> tuple[Path, Path]:
        """The certificate and the key of a user, made at the first call."""
        files = self._files(user)
        if not files[0].exists():
            self._write(user, self._authority.issue_cert(f"{user}.test", common_name=user))
        return files

    def query(self, user: str) -> str:
        """The parameters of an address for this user."""
        certificate, key = self.of_user(user)
        return f"cert={certificate}&key={key}&ca={self.authority}"

    def for_control(self, user: str) -> list[str]:
        """Options of etcdctl for this user."""
        certificate, key = self.of_user(user)
        return [f"--cacert={self.authority}", f"--cert={certificate}", f"--key={key}"]

    def context(self, user: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.authority)
        context.load_cert_chain(*self.of_user(user))
        return context

    def _files(self, name: str) -> tuple[Path, Path]:
        return self._folder / f"{name}.pem", self._folder / f"{name}-key.pem"

    def _write(self, name: str, made: trustme.LeafCert) -> None:
        certificate, key = self._files(name)
        made.private_key_pem.write_to_path(key)
        certificate.write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
