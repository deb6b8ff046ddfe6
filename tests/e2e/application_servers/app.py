"""An application that takes a note of the id that each POST brings: `wsgi` for gunicorn, `asgi` for uvicorn and hypercorn."""

import os

# Written by several processes, each line at once.
notes = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def wsgi(environ, start_response):
    body = environ["wsgi.input"].read()
    if environ["REQUEST_METHOD"] == "POST":
        os.write(notes, body + b"\n")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    if scope["method"] == "POST":
        os.write(notes, body + b"\n")
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})
