"""The page on TLS and roles as an operator plays it: its commands are typed into a shell, in the order of the page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from tests.docs.page import blocks
from tests.support.etcd import EtcdCluster, packaged
from tests.support.etcd_tls import Certificates

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "cluster-security.md"
PRINTED_MEMBERS = re.compile(r"(https://)?10\.0\.0\.1:2379(,(https://)?10\.0\.0\.\d:2379)+")
DONE = ":all is done:"


class PrintedCertificates(Certificates):
    """Those that the commands of the page have made. The servers have the options that it shows."""

    def renew(self) -> None:
        """Nothing: the commands make them."""

    def of_servers(self) -> dict[str, Path | str]:
        options = re.findall(r"^    --.*$", PAGE.read_text(), re.MULTILINE)
        shown = dict(one.split("=", 1) for line in options for one in line.split())
        files = {name.removeprefix("--"): value for name, value in shown.items() if "urls" not in name}
        assert len(files) == 4, files
        return {name: value.replace("/etc/adsum", str(self._folder)) for name, value in files.items()}


class Terminal:
    """A bash that keeps the variables and functions of earlier commands. The folder, and the addresses of etcd once it
    runs, are those of the test."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self._folder = folder
        self.etcd: EtcdCluster | None = None
        programs = folder / "bin"
        programs.mkdir(exist_ok=True)
        for name, command in (("etcdctl", packaged("etcdctl")), ("adsum", f"{sys.executable} -m adsum.cli")):
            (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (programs / name).chmod(0o700)
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment, "PATH": f"{programs}:{os.environ['PATH']}", "NO_COLOR": "1"},
            text=True,
        )

    def type(self, text: str) -> str:
        """What the commands print. `AssertionError` where one of them fails."""
        return self._type(f"set -eo pipefail\n{text}\nset +e")

    def refusal(self, command: str) -> str:
        """What a command prints that fails."""
        return self._type(f"set +e\n{command}\n[ $? = 0 ] && exit 1")

    def _type(self, text: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{self.here(text)}\necho {DONE!r}\n")
        self._process.stdin.flush()
        said = ""
        for line in self._process.stdout:
            if line == f"{DONE}\n":
                return said
            said += line
        raise AssertionError(f"failed: {text}\n{said}")

    def here(self, text: str) -> str:
        """Printed commands, for this machine."""
        if self.etcd is not None:
            port = self.etcd.members[0].port
            text = PRINTED_MEMBERS.sub(lambda found: f"{found[1] or ''}127.0.0.1:{port}", text)
        return text.replace("10.0.0.", "127.0.0.").replace("/etc/adsum", str(self._folder))

    def exported(self) -> dict[str, str]:
        """The variables of adsum that were exported in it."""
        pairs = (line.partition("=")[::2] for line in self.type("env").splitlines() if line.startswith("ADSUM_"))
        return dict(pairs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, _kind: object, _error: BaseException | None, _traceback: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()


def commands() -> list[str]:
    """The blocks of the page that are typed: certificates, root, hosts, forgetting, observer, enabling,
    on a host, shutting one out."""
    return [block.text for block in blocks(PAGE) if block.language == "sh"]
