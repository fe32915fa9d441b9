#!/usr/bin/env bash
# Closing a channel of grpc.aio makes other tasks look cancelled: a task group ends well with its work undone.
#
# A good engineer guesses: a call whose channel is closed under it raises a gRPC error with the status CANCELLED, as in
# gRPC's synchronous interface, and `except grpc.RpcError` or `except Exception` sees it.
# In fact: the waiting task gets `asyncio.CancelledError`, although nothing cancelled the task (`task.cancelling()` is 0).
# That is no `Exception`. The task ends as cancelled, and an `asyncio.TaskGroup` takes this for a task that its owner
# cancelled: the block ends without any error. Statements after the call do not run.
# It matters because: a client that replaces a channel after a failure silently ends the workers that still used the old
# one. Catch CancelledError around each call, and raise it again only if `asyncio.current_task().cancelling()`.
# Source: grpc/aio/_call.py, `_raise_for_status`; Python's documentation of TaskGroup, "Task groups".
. "$(dirname "$0")/prelude"
install grpcio==1.85.3
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || missing "Python 3.11, for TaskGroup"

"$python" - <<'EOP' 2> errors || { cat errors; exit 1; }
import asyncio
import sys

import grpc


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        async def slow(request, context):
            await asyncio.sleep(60)
            return b""

        return grpc.unary_unary_rpc_method_handler(slow)


async def main():
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    seen = []

    async def work():
        try:
            await channel.unary_unary("/a/b")(b"")
        except Exception as error:
            seen.append(type(error).__name__)
        except asyncio.CancelledError:
            seen.append(f"CancelledError, cancelling {asyncio.current_task().cancelling()}")
            raise
        seen.append("went on after the call")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(work())
        await asyncio.sleep(0.5)
        await channel.close()
    print("the worker saw:", *seen)
    print("the task group ended without an error; the worker counts as cancelled:", task.cancelled())
    await server.stop(None)
    return seen == ["CancelledError, cancelling 0"] and task.cancelled()


sys.exit(not asyncio.run(main()))
EOP
