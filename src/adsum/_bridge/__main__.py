"""The main program of a bridge in the background, with four arguments at the end: FOLDER ADDRESS HOST TTL.

A client starts it (see `adsum._client.cluster`); ``adsum bridge`` is for people. It forks before it imports grpc, which
does not survive a fork, and its parent exits at once: init adopts the bridge, and the client has no zombie.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    folder, address, host, ttl = sys.argv[-4:]
    if os.fork():
        os._exit(0)
    # A member of etcd that is down is in the log of the bridge already, once.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from pathlib import Path

    # In ps and top; the kernel keeps 15 characters (proc(5)).
    Path("/proc/self/comm").write_bytes(b"adsum-bridge")
    from .._etcd.address import parse
    from ..errors import AdsumError
    from .process import serve

    password = os.environ.get("ADSUM_ETCD_PASSWORD")
    try:
        serve(Path(folder), parse(address), host=host or None, ttl=float(ttl), password=password, foreground=False)
    except AdsumError as error:
        sys.exit(f"adsum bridge: {error}")


if __name__ == "__main__":
    main()
