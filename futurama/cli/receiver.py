"""The other side of ``futurama demo``: an HTTP server in a process of its own that keeps a record.

In a process of its own it takes no time from the threads whose punctuality is measured. It is run
by its path and imports the standard library only, so it needs nothing but the interpreter.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection
from typing import Self

__all__ = ["Receiver"]

_START_SECONDS = 30
_END_SECONDS = 5

_NOT_YET = "/not-yet"
_RECORD = "/record"


class Receiver:
    """The server's process, as a context; it ends with this process, whatever ends that."""

    def __enter__(self) -> Self:
        # Two pipes: what it reads tells it that we are gone, what it writes tells us its port.
        self._process = subprocess.Popen(  # noqa: S603 -- this interpreter and this file
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise OSError(f"the receiver did not start, exit status {self._process.wait()}")
        self.port = int(line)
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def url(self, *, refuses_first: bool) -> str:
        """Where to call; ``refuses_first``: the first call of each event is answered 503."""
        return f"http://127.0.0.1:{self.port}{_NOT_YET if refuses_first else '/call'}"

    def record(self) -> list[tuple[str, int, int]]:
        """Every call so far: (event id, when it arrived by ``time.monotonic_ns``, the answer)."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=_START_SECONDS)
        try:
            connection.request("GET", _RECORD)
            return [(i, at_ns, status) for i, at_ns, status in json.load(connection.getresponse())]
        finally:
            connection.close()


class _Server:
    def __init__(self) -> None:
        self._calls: list[tuple[str, int, int]] = []
        self._seen: set[str] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until it is closed."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                arrived_ns = time.monotonic_ns()
                request, *lines = head.decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in lines)
                }
                await reader.readexactly(int(headers.get("content-length", 0)))
                status, body = self._answer(request.split(" ")[1], headers, arrived_ns)
                reason = "OK" if status == 200 else "Service Unavailable"  # noqa: PLR2004 -- HTTP's
                answer = f"HTTP/1.1 {status} {reason}\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(answer.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the connection was closed, or this process ends
        finally:
            writer.close()

    def _answer(self, path: str, headers: dict[str, str], arrived_ns: int) -> tuple[int, bytes]:
        if path == _RECORD:
            return 200, json.dumps(self._calls).encode()
        event_id = headers["futurama-event-id"]
        status = 503 if path == _NOT_YET and event_id not in self._seen else 200
        self._seen.add(event_id)
        self._calls.append((event_id, arrived_ns, status))
        return status, b""


async def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us too, but others decide
    server = await asyncio.start_server(_Server().serve, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main())
