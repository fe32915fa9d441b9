"""`adsum.admin_cluster`: the functions that tools for operators call about a cluster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import adsum
from adsum import admin_cluster


def test_to_look_needs_no_grpc() -> None:
    """Whether a registry is part of a cluster, and how its bridge is, can be asked without the extra."""
    program = (
        "import sys; sys.modules['grpc'] = None; import adsum; from adsum import admin_cluster as c; "
        "folder = adsum.admin.registry_folder('none'); "
        "assert (c.membership(folder), c.bridge_pid(folder), c.bridge_status(folder)) == (None, None, None)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_registry_that_joins_again_keeps_what_it_has(registry_folder: Path) -> None:
    """`join` changes only what is given, and takes the rest from the environment the first time."""
    environment = {"ADSUM_CLUSTER": "etcd://a/prod", "ADSUM_HOST": "rack", "ADSUM_CLUSTER_FORGET_AFTER": "30"}
    joined = admin_cluster.join(registry_folder, environment=environment, ttl=4)
    assert joined == admin_cluster.Membership("etcd://a:2379/prod", "rack", 4.0, 30.0)
    assert admin_cluster.membership(registry_folder) == joined
    assert admin_cluster.join(registry_folder, environment={"ADSUM_HOST": "other"}) == joined
    again = admin_cluster.join(registry_folder, host="shelf", environment={})
    assert again == admin_cluster.Membership("etcd://a:2379/prod", "shelf", 4.0, 30.0)
    with pytest.raises(adsum.InvalidClusterAddress, match="--leave"):
        admin_cluster.join(registry_folder, "etcd://a/other", environment={})


@pytest.mark.parametrize(
    "wrong",
    [
        {"ADSUM_CLUSTER_TTL": "1"},
        {"ADSUM_CLUSTER_TTL": "soon"},
        {"ADSUM_CLUSTER_FORGET_AFTER": "0"},
        {"ADSUM_HOST": "a/b"},
        {"ADSUM_CLUSTER": ""},
    ],
)
def test_a_wrong_environment_is_refused(registry_folder: Path, wrong: dict[str, str]) -> None:
    """The error names the variable."""
    errors = (adsum.InvalidClusterAddress, adsum.ClusterUnavailable)
    with pytest.raises(errors, match=next(iter(wrong))):
        admin_cluster.join(registry_folder, environment={"ADSUM_CLUSTER": "etcd://a/prod", **wrong})
    assert admin_cluster.membership(registry_folder) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"address": 5},
        {"address": b"etcd://a/prod"},
        {"host": 5},
        {"host": b"rack"},
        {"ttl": "soon"},
        {"ttl": [5]},
        {"ttl": True},
        {"ttl": 10**400},
        {"forget_after": object()},
    ],
)
def test_odd_arguments_of_join_are_refused(registry_folder: Path, wrong: dict[str, Any]) -> None:
    """With the name of the argument, or an example of an address."""
    arguments = {"address": "etcd://a/prod", "environment": {}, **wrong}
    with pytest.raises(adsum.InvalidClusterAddress, match=r"such as etcd://|host=|ttl=|forget_after="):
        admin_cluster.join(registry_folder, **arguments)
    if "address" in wrong:
        assert admin_cluster.membership(registry_folder) is None
