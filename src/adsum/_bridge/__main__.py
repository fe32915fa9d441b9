"""The main program of a bridge in the background, with five arguments at the end: FOLDER ADDRESS HOST TTL
FORGET_AFTER.

A client starts it (see `adsum._client.cluster`); ``adsum bridge`` is for people. It forks before it imports grpc, which
does not survive a fork, and its parent exits at once: init adopts the bridge, and the client has no zombie.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    folder, address, host, ttl, forget_after = sys.argv[-5:]
    if os.fork():
        os._exit(0)
    # A member of etcd that is down is in the log of the bridge already, once.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from pathlib import Path

    # In ps and top; the kernel keeps 15 characters (proc(5)).
    Path("/proc/self/comm").write_bytes(b"adsum-bridge")
    from .._etcd.address import parse
    from ..errors import AdsumError
    from .process import BridgeSettings, serve

    password = os.environ.get("ADSUM_ETCD_PASSWORD")
    settings = BridgeSettings(float(ttl), host, float(forget_after), password)
    try:
        serve(Path(folder), parse(address), settings)
    except AdsumError as error:
        sys.exit(f"adsum bridge: {error}")


if __name__ == "__main__":
    main()
