"""A gRPC service and calls to it, by generic handlers, so that no generated code is needed.

    calls.py serve ADDRESS      a server; prints "ready"
    calls.py call ADDRESS       every kind of call through that address; prints one line per kind
"""

import queue
import sys
import threading
import time
from concurrent import futures

import grpc

SERVICE = "cutover.test.Echo"
LARGE = 4 * 1024 * 1024 - 64 * 1024
LIMITS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
cancelled = threading.Event()


def unary(request, context):
    if request == b"fail":
        context.set_trailing_metadata((("reason", "asked-for"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked for")
    if request == b"internal":
        context.abort(grpc.StatusCode.INTERNAL, "broken")
    if request == b"sleep":
        context.add_callback(cancelled.set)
        time.sleep(3)
    if request == b"was it cancelled":
        return b"yes" if cancelled.wait(10) else b"no"
    context.set_trailing_metadata((("seen", dict(context.invocation_metadata()).get("asked", "nothing")),))
    return request


def server_stream(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def client_stream(requests, context):
    return str(sum(len(request) for request in requests)).encode()


def both(requests, context):
    for request in requests:
        yield request[::-1]


def serve(address):
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "Both": grpc.stream_stream_rpc_method_handler(both),
    }
    server = grpc.server(futures.ThreadPoolExecutor(16), options=LIMITS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(address)
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


def call(address):
    channel = grpc.insecure_channel(address, options=LIMITS)
    unary = channel.unary_unary(f"/{SERVICE}/Unary")
    answer, made = unary.with_call(b"hello", metadata=(("asked", "yes"),), timeout=20)
    print("unary", answer.decode(), dict(made.trailing_metadata())["seen"], made.code().name)
    large = b"x" * LARGE
    print("large", unary(large, timeout=30) == large)
    numbers = [int(answer) for answer in channel.unary_stream(f"/{SERVICE}/ServerStream")(b"1000", timeout=20)]
    print("server stream", numbers == list(range(1000)))
    sent = (b"y" * 1000 for _ in range(1000))
    print("client stream", channel.stream_unary(f"/{SERVICE}/ClientStream")(sent, timeout=20).decode())
    # Each request waits for the answer to the one before: neither way may wait for the end of the other.
    asked = queue.Queue()
    answers = channel.stream_stream(f"/{SERVICE}/Both")(iter(asked.get, None), timeout=20)
    turned = []
    for word in (b"abc", b"def", b"ghi"):
        asked.put(word)
        turned.append(next(answers).decode())
    asked.put(None)
    print("both", *turned, list(answers), answers.code().name)
    try:
        unary(b"fail", timeout=20)
    except grpc.RpcError as error:
        print("status", error.code().name, error.details(), dict(error.trailing_metadata())["reason"])
    try:
        unary(b"sleep", timeout=1)
    except grpc.RpcError as error:
        print("deadline", error.code().name)
    print("cancelled", unary(b"was it cancelled", timeout=20).decode())
    try:
        unary(b"internal", timeout=20)
    except grpc.RpcError as error:
        print("internal", error.code().name)


if __name__ == "__main__":
    {"serve": serve, "call": call}[sys.argv[1]](sys.argv[2])
