"""The client beside another etcd client in one process, and what it costs those who do not use it."""

from __future__ import annotations

import subprocess
import sys

import pytest

# The messages of another client's generated module, as far as they matter here: the same names, in the common pool.
OTHER = """
def other():
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    file = descriptor_pb2.FileDescriptorProto(name="rpc.proto", package="etcdserverpb", syntax="proto3")
    message = file.message_type.add(name="PutRequest")
    for number, name in enumerate(("key", "value"), 1):
        message.field.add(name=name, number=number, label=1, type=12)
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("etcdserverpb.PutRequest"))

def ours():
    from adsum._etcd.schema import MESSAGES
    return MESSAGES["PutRequest"]
"""


@pytest.mark.parametrize("order", ["ours, other", "other, ours"])
def test_messages_do_not_collide(order: str) -> None:
    """Another client's definition of the same messages works, whichever comes first, and both have their own fields."""
    first, second = order.split(", ")
    run(
        f"{OTHER}\n"
        f"classes = {{'{first}': {first}(), '{second}': {second}()}}\n"
        "assert classes['other'](key=b'k', value=b'v').SerializeToString() == b'\\n\\x01k\\x12\\x01v'\n"
        "assert classes['ours'](key=b'k', lease=7).SerializeToString() == b'\\n\\x01k\\x18\\x07'\n"
        "assert not hasattr(classes['other'](), 'lease')\n"
    )


def test_who_does_not_use_it_does_not_import_it() -> None:
    """Neither a registry, nor an address of a cluster, nor the versions of etcd import grpc or protobuf."""
    run(
        "import sys, adsum\n"
        "adsum.open, adsum.open_async, adsum.ClusterUnavailable\n"
        "from adsum._etcd import address, versions\n"
        "address.parse('etcd://a/b'), versions.judge('3.5.30')\n"
        "assert not {'grpc', 'google.protobuf', 'google'} & set(sys.modules), sorted(sys.modules)\n"
    )


def run(program: str) -> None:
    """Run a program in a fresh interpreter; it must end well and say nothing."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
