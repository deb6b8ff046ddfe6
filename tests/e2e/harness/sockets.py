"""A WebSocket server, and visitors of it, by the `websockets` package.

    sockets.py serve PORT       echoes; /bye closes with 4001, /many sends 50 messages of 64 KiB and closes; /page is a page
    sockets.py talk PORT        tries everything once, and prints what came of it
    sockets.py closed PORT      prints how the server's sockets were closed: their codes
    sockets.py stay PORT N      opens N, prints "open", and for each how it was closed, with the seconds since then

By TLS, for a.example: `serve PORT CHAIN KEY` and `talk PORT AUTHORITY`.
"""

import asyncio
import json
import ssl
import sys
import time
from http import HTTPStatus

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

MOST = 16 * 1024 * 1024
closed_with = []


async def answer(socket):
    path = socket.request.path
    if path == "/bye":
        await socket.close(4001, "bye")
    elif path == "/many":
        for number in range(50):
            await socket.send(bytes([number]) * 65536)
        await socket.close(1000)
    elif path == "/closed":
        await socket.send(json.dumps(closed_with))
    else:
        try:
            async for message in socket:
                await socket.send(message)
        except ConnectionClosed:
            pass
        closed_with.append(socket.close_code)


def answer_plainly(socket, request):
    return socket.respond(HTTPStatus.OK, "a page") if request.path == "/page" else None


async def run_server(port, *certificate):
    tls = None
    if certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*certificate)
    async with serve(answer, "127.0.0.1", port, process_request=answer_plainly, max_size=MOST, ssl=tls):
        await asyncio.get_running_loop().create_future()


async def talk(port, *authority):
    url, tls = f"ws://127.0.0.1:{port}", {}
    if authority:
        url = f"wss://127.0.0.1:{port}"
        tls = {"ssl": ssl.create_default_context(cafile=authority[0]), "server_hostname": "a.example"}
    came = {}
    async with connect(url, max_size=MOST, **tls) as socket:
        for name, message in [("text", "zażółć"), ("binary", bytes(range(256))), ("large", b"\x00\xff" * 524288)]:
            await socket.send(message)
            came[name] = await socket.recv() == message
        await asyncio.wait_for(await socket.ping(), 10)
        came["ping"] = True
        for number in range(200):
            await socket.send(f"{number}")
        came["in order"] = [await socket.recv() for _ in range(200)] == [str(number) for number in range(200)]
        await socket.close(4002, "enough")
    async with connect(url + "/closed", **tls) as socket:
        came["the server was told"] = json.loads(await socket.recv())
    async with connect(url + "/bye", **tls) as socket:
        try:
            await socket.recv()
        except ConnectionClosed:
            came["the visitor was told"] = [socket.close_code, socket.close_reason]
    async with connect(url + "/many", compression=None, **tls) as socket:
        came["many"] = [message[0] async for message in socket] == list(range(50))
    print(json.dumps(came))


async def closed(port):
    async with connect(f"ws://127.0.0.1:{port}/closed") as socket:
        print(await socket.recv())


async def stay(port, count):
    async def one():
        socket = await connect(f"ws://127.0.0.1:{port}", max_size=MOST)
        await socket.send("here")
        await socket.recv()
        return socket

    sockets = await asyncio.gather(*[one() for _ in range(int(count))])
    print("open", flush=True)
    since = time.monotonic()

    async def last(socket):
        await socket.wait_closed()
        return [socket.close_code, socket.close_reason, round(time.monotonic() - since, 3)]

    print(json.dumps(await asyncio.gather(*[last(socket) for socket in sockets])), flush=True)


what, port, rest = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
asyncio.run({"serve": run_server, "talk": talk, "closed": closed, "stay": stay}[what](port, *rest))
