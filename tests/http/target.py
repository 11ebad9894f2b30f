"""A real HTTP server on loopback whose path says how it behaves."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import Future
from typing import Self

import attrs

_REASON = "As Wanted"


@attrs.frozen
class Request:
    """One request as it arrived.

    Attributes:
        connection: which connection it came by, counted from 1.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


class Target:
    """The server, as a context.

    ``/status/503`` answers so. ``/silent`` never answers. ``/drop`` closes the connection.
    ``/garbage`` is no HTTP. ``/redirect`` leads to ``/status/200``. ``/cookie`` sets one.
    ``/endless`` answers 200 and a body without end, ``/stalled`` 200 and half of a body.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._connections = 0
        self._port: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = self._port.result(30)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(30)

    def url(self, path: str) -> str:
        """The URL of ``path``."""
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def only_request(self) -> Request:
        """The request, if there was one and no other."""
        (request,) = self.requests
        return request

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port.set_result(server.sockets[0].getsockname()[1])
        await self._stopping.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # lets the transports close

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        task = asyncio.create_task(self._converse(reader, writer, self._connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> None:
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._answer(await _read(reader, connection), writer):
                    pass
        finally:
            writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection stays open."""
        self.requests.append(request)
        match request.path.partition("?")[0].strip("/").split("/"):
            case ["status", status]:
                writer.write(_head(int(status), "Content-Length: 2") + b"{}")
            case ["redirect"]:
                writer.write(_head(302, "Content-Length: 0", "Location: /status/200"))
            case ["cookie"]:
                writer.write(_head(200, "Content-Length: 0", "Set-Cookie: a=b; Path=/"))
            case ["garbage"]:
                writer.write(b"hello\r\n\r\n")
                return False
            case ["drop"]:
                return False
            case ["silent"]:
                await asyncio.Event().wait()
            case ["stalled"]:
                writer.write(_head(200, "Content-Length: 1000") + b"half")
                await asyncio.Event().wait()
            case ["endless"]:
                writer.write(_head(200, "Transfer-Encoding: chunked"))
                while True:
                    writer.write(b"1000\r\n" + bytes(0x1000) + b"\r\n")
                    await writer.drain()
        await writer.drain()
        return True


async def _read(reader: asyncio.StreamReader, connection: int) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        assert name.lower() not in headers, f"the header {name} came twice"
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, path, _ = first.split(" ")
    return Request(method, path, headers, body, connection)


def _head(status: int, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} {_REASON}", *headers, "", ""]).encode()
