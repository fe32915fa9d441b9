#!/usr/bin/env bash
# A frozen process: in one version of cgroups SIGKILL ends it at once, in the other not before it is thawed.
#
# A good engineer guesses: SIGKILL always works, and a paused container can be killed; or: frozen is frozen, so it
# cannot die before it is thawed. And: /proc shows a frozen process as stopped.
# In fact: both guesses are right, one for each version. In the freezer of cgroup v1 (`docker pause` on older hosts) the
# signal waits: the process keeps its memory, ports and locks, and its pidfd stays silent. Under `cgroup.freeze` of v2
# it dies at once. And the state in /proc is D (v1) or S (v2), never T: nothing in /proc/PID/stat says "frozen".
# It matters because: after kill() a registry must keep the entry for as long as the kernel does; a failover that takes
# the signal for the death makes two owners.
# Source: kernel documentation, cgroup-v2 ("cgroup.freeze": "can be killed by a fatal signal") and freezer-subsystem.
. "$(dirname "$0")/prelude"
needs_root

"$python" - <<'EOP'
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

MOUNTS = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
V1 = [Path(mount[1]) for mount in MOUNTS if mount[2] == "cgroup" and "freezer" in mount[3].split(",")]
V2 = [Path(mount[1]) for mount in MOUNTS if mount[2] == "cgroup2"]


def frozen_and_killed(root: Path, file: str, freeze: str, thaw: str) -> tuple[str, bool, bool]:
    """The state in /proc of a frozen process, and whether SIGKILL ended it while frozen, and after the thaw."""
    group = root / f"finding-{os.getpid()}"
    group.mkdir()
    child = subprocess.Popen(["sleep", "60"])
    try:
        (group / "cgroup.procs").write_text(str(child.pid))
        (group / file).write_text(freeze)
        deadline = time.monotonic() + 5
        while not is_frozen(group) and time.monotonic() < deadline:
            time.sleep(0.01)
        state = Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        poller = select.poll()
        poller.register(os.pidfd_open(child.pid), select.POLLIN)
        child.send_signal(signal.SIGKILL)
        while_frozen = bool(poller.poll(1500))
        (group / file).write_text(thaw)
        return state, while_frozen, bool(poller.poll(5000))
    finally:
        (group / file).write_text(thaw)
        child.kill()
        child.wait()
        remove(group)


def is_frozen(group: Path) -> bool:
    if (group / "freezer.state").exists():
        return (group / "freezer.state").read_text().strip() == "FROZEN"
    return "frozen 1" in (group / "cgroup.events").read_text()


def remove(group: Path) -> None:
    for _ in range(500):
        try:
            return group.rmdir()
        except OSError:
            time.sleep(0.01)


seen = {}
try:
    if V1:
        seen["v1"] = frozen_and_killed(V1[0], "freezer.state", "FROZEN", "THAWED")
    if V2:
        seen["v2"] = frozen_and_killed(V2[0], "cgroup.freeze", "1", "0")
except OSError as error:
    print(f"missing: a writable cgroup: {error}")
    sys.exit(2)
if not seen:
    print("missing: cgroups")
    sys.exit(2)
for version, (state, frozen, thawed) in seen.items():
    print(f"cgroup {version}: state {state}; dead of SIGKILL while frozen: {frozen}; after the thaw: {thawed}")
expected = {"v1": ("D", False, True), "v2": ("S", True, True)}
sys.exit(any(expected[version] != outcome for version, outcome in seen.items()))
EOP
