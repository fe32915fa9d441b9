"""The messages of etcd's interface that adsum uses, in a pool of protobuf descriptors of their own.

protobuf keeps generated modules in one pool for the whole process and refuses a second definition of the same message.
Another etcd client in the process has one. So these messages are described here and built at import, in a private pool.
Names and numbers are those of etcd's interface, version 3 (`rpc.proto`, `kv.proto`); fields without use here are left
out, and protobuf skips what it does not know. An enumeration is an `int32`, which has the same form on the wire.

Lineage: protobuf's `descriptor_pb2`, "self-describing messages".
"""

from __future__ import annotations

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

_PACKAGE = "etcdserverpb"

# MESSAGE: FIELD NUMBER TYPE, ...   `*` after a type: repeated. `/GROUP` after a type: one of the group is set.
_DESCRIPTION = """
KeyValue: key 1 bytes, create_revision 2 int64, mod_revision 3 int64, version 4 int64, value 5 bytes, lease 6 int64
Event: type 1 int32, kv 2 KeyValue, prev_kv 3 KeyValue
ResponseHeader: cluster_id 1 uint64, member_id 2 uint64, revision 3 int64, raft_term 4 uint64
RangeRequest: key 1 bytes, range_end 2 bytes, limit 3 int64, revision 4 int64, serializable 7 bool, keys_only 8 bool,\
 count_only 9 bool
RangeResponse: header 1 ResponseHeader, kvs 2 KeyValue*, more 3 bool, count 4 int64
PutRequest: key 1 bytes, value 2 bytes, lease 3 int64
PutResponse: header 1 ResponseHeader
DeleteRangeRequest: key 1 bytes, range_end 2 bytes
DeleteRangeResponse: header 1 ResponseHeader, deleted 2 int64
RequestOp: request_range 1 RangeRequest/request, request_put 2 PutRequest/request,\
 request_delete_range 3 DeleteRangeRequest/request
ResponseOp: response_range 1 RangeResponse/response, response_put 2 PutResponse/response,\
 response_delete_range 3 DeleteRangeResponse/response
Compare: result 1 int32, target 2 int32, key 3 bytes, version 4 int64/operand, create_revision 5 int64/operand,\
 mod_revision 6 int64/operand, value 7 bytes/operand, lease 8 int64/operand
TxnRequest: compare 1 Compare*, success 2 RequestOp*, failure 3 RequestOp*
TxnResponse: header 1 ResponseHeader, succeeded 2 bool, responses 3 ResponseOp*
CompactionRequest: revision 1 int64, physical 2 bool
CompactionResponse: header 1 ResponseHeader
WatchRequest: create_request 1 WatchCreateRequest/request, progress_request 3 WatchProgressRequest/request
WatchCreateRequest: key 1 bytes, range_end 2 bytes, start_revision 3 int64, progress_notify 4 bool, prev_kv 6 bool,\
 fragment 8 bool
WatchProgressRequest:
WatchResponse: header 1 ResponseHeader, watch_id 2 int64, created 3 bool, canceled 4 bool, compact_revision 5 int64,\
 cancel_reason 6 string, fragment 7 bool, events 11 Event*
LeaseGrantRequest: TTL 1 int64, ID 2 int64
LeaseGrantResponse: header 1 ResponseHeader, ID 2 int64, TTL 3 int64
LeaseRevokeRequest: ID 1 int64
LeaseRevokeResponse: header 1 ResponseHeader
LeaseKeepAliveRequest: ID 1 int64
LeaseKeepAliveResponse: header 1 ResponseHeader, ID 2 int64, TTL 3 int64
LeaseTimeToLiveRequest: ID 1 int64, keys 2 bool
LeaseTimeToLiveResponse: header 1 ResponseHeader, ID 2 int64, TTL 3 int64, grantedTTL 4 int64, keys 5 bytes*
Member: ID 1 uint64, name 2 string, peerURLs 3 string*, clientURLs 4 string*, isLearner 5 bool
MemberListRequest: linearizable 1 bool
MemberListResponse: header 1 ResponseHeader, members 2 Member*
StatusRequest:
StatusResponse: header 1 ResponseHeader, version 2 string, dbSize 3 int64, leader 4 uint64, raftIndex 5 uint64,\
 raftTerm 6 uint64, raftAppliedIndex 7 uint64, errors 8 string*, dbSizeInUse 9 int64, isLearner 10 bool,\
 dbSizeQuota 12 int64
AlarmRequest: action 1 int32, memberID 2 uint64, alarm 3 int32
AlarmMember: memberID 1 uint64, alarm 2 int32
AlarmResponse: header 1 ResponseHeader, alarms 2 AlarmMember*
DefragmentRequest:
DefragmentResponse: header 1 ResponseHeader
AuthenticateRequest: name 1 string, password 2 string
AuthenticateResponse: header 1 ResponseHeader, token 2 string
"""

# METHOD: the service that has it, its request and its response.
METHODS = {
    "Range": ("KV", "RangeRequest", "RangeResponse"),
    "Put": ("KV", "PutRequest", "PutResponse"),
    "DeleteRange": ("KV", "DeleteRangeRequest", "DeleteRangeResponse"),
    "Txn": ("KV", "TxnRequest", "TxnResponse"),
    "Compact": ("KV", "CompactionRequest", "CompactionResponse"),
    "Watch": ("Watch", "WatchRequest", "WatchResponse"),
    "LeaseGrant": ("Lease", "LeaseGrantRequest", "LeaseGrantResponse"),
    "LeaseRevoke": ("Lease", "LeaseRevokeRequest", "LeaseRevokeResponse"),
    "LeaseKeepAlive": ("Lease", "LeaseKeepAliveRequest", "LeaseKeepAliveResponse"),
    "LeaseTimeToLive": ("Lease", "LeaseTimeToLiveRequest", "LeaseTimeToLiveResponse"),
    "MemberList": ("Cluster", "MemberListRequest", "MemberListResponse"),
    "Status": ("Maintenance", "StatusRequest", "StatusResponse"),
    "Alarm": ("Maintenance", "AlarmRequest", "AlarmResponse"),
    "Defragment": ("Maintenance", "DefragmentRequest", "DefragmentResponse"),
    "Authenticate": ("Auth", "AuthenticateRequest", "AuthenticateResponse"),
}


def path(method: str) -> str:
    """The path of a method in HTTP/2."""
    return f"/{_PACKAGE}.{METHODS[method][0]}/{method}"


def _field(message: descriptor_pb2.DescriptorProto, description: str) -> None:
    name, number, described = description.split()
    kind, _, group = described.partition("/")
    field = message.field.add(name=name, number=int(number))
    field.label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
    kind = kind.rstrip("*")
    if kind[0].isupper():
        field.type, field.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    else:
        field.type = field.Type.Value(f"TYPE_{kind.upper()}")
    if group:
        if not message.oneof_decl:
            message.oneof_decl.add(name=group)
        field.oneof_index = 0


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="adsum/etcd.proto", package=_PACKAGE, syntax="proto3")
    for line in _DESCRIPTION.strip().splitlines():
        name, _, fields = line.partition(":")
        message = file.message_type.add(name=name)
        for field in filter(None, map(str.strip, fields.split(","))):
            _field(message, field)
    return file


_POOL = descriptor_pool.DescriptorPool()
_POOL.AddSerializedFile(_file().SerializeToString())

MESSAGES: dict[str, type[Message]] = {
    message.name: message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{message.name}"))
    for message in _file().message_type
}
