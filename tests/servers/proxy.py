"""A TCP proxy that breaks connections between clients and a server in the ways in which networks do."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Self, TypeVar

from tests.servers.wire import Messages, Reads

__all__ = ["Fate", "Happened", "Proxy", "Side"]

T = TypeVar("T")

_HOST = "127.0.0.1"

_READ_BYTES = 256 * 1024
"""Of one read, and about as much as is ever kept of one direction of a connection."""

_PATIENCE_SECONDS = 30.0
"""Nothing that is asked of the event loop takes longer."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""For SO_LINGER: closing sends RST and forgets what has not been sent."""


class Fate(Enum):
    """What becomes of a message that was chosen, and of its connection."""

    CUT_BEFORE = "the connection ends, the server never sees the message"
    CUT_AFTER = "the server acts on the message, the connection ends in the place of its answer"
    ABANDONED = "the client's connection ends, the server never sees the message nor any end"
    SILENCED = "the connection stays open, and nothing passes any more"


class Side(Enum):
    """Of a connection."""

    CLIENT = "client"
    SERVER = "server"


class Happened(Enum):
    """What a proxy counts."""

    CONNECTED = "connections"
    COMMIT = "COMMITs that clients sent"
    CUT_BEFORE = "connections cut before a message"
    CUT_AFTER = "connections cut after a message, which the server has answered"
    ABANDONED = "connections abandoned in the place of a message"
    SILENCED = "connections on which nothing passes from a message on"
    HELD_BACK = "reads held back by silence"
    DELAYED = "reads delayed"
    RESET = "connections reset"
    HALF_OPEN = "connections of which one side was closed"
    SWALLOWED = "reads from the open side of those"


class Proxy:
    """Passes everything on, but for what it is told to break; a context manager, thread-safe.

    Args:
        server_port: where on 127.0.0.1 the server listens.
        messages: how clients speak, in clear text.
        seed: of everything that is left to chance.

    Attributes:
        port: where on 127.0.0.1 the proxy listens.
    """

    def __init__(
        self, server_port: int, messages: type[Messages] = Reads, *, seed: int = 0
    ) -> None:
        self._server_port = server_port
        self._faults = _Faults(messages, random.Random(seed))
        self._links: dict[_Link, asyncio.Task[None]] = {}
        self._socket = _bound(0)
        self.port: int = self._socket.getsockname()[1]
        self._listener: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._await(self._listen)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._await(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_SECONDS)
        self._loop.close()

    @property
    def counts(self) -> Mapping[Happened, int]:
        """What has happened so far."""
        return self._do(self._faults.counts.copy)

    # -- messages -------------------------------------------------------------------------------

    def lose(self, text: str, *, after_it_was_done: bool) -> None:
        """Cut the next connection that sends a message with ``text`` in it, once.

        Args:
            text: of a statement.
            after_it_was_done: the server receives it, and only its answer is lost.
        """
        fate = Fate.CUT_AFTER if after_it_was_done else Fate.CUT_BEFORE
        self._do(lambda: self._faults.choose(text.encode(), fate))

    def go_silent_at(self, text: str) -> None:
        """From the next message with ``text`` in it on nothing passes on its connection, once."""
        self._do(lambda: self._faults.choose(text.encode(), Fate.SILENCED))

    @contextlib.contextmanager
    def breaking_commits(self, shares: Mapping[Fate, float]) -> Iterator[None]:
        """Meanwhile these shares of all COMMITs, chosen at random, have these fates."""
        self._do(lambda: self._faults.break_commits(shares))
        try:
            yield
        finally:
            self._do(lambda: self._faults.break_commits({}))

    # -- connections ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def silent(self, *, drop: bool) -> Iterator[None]:
        """Meanwhile connections stay open, new ones are accepted, and nothing passes.

        Args:
            drop: in the end all connections are reset. Otherwise what was held back passes late,
                also what a client sent that has given up since: so it is when a network is mended.
        """
        self._do(self._faults.flowing.clear)
        try:
            yield
        finally:
            self._do(lambda: self._speak_again(drop=drop))

    @contextlib.contextmanager
    def stalling(self, share: float = 1.0) -> Iterator[None]:
        """Meanwhile nothing passes on about this share of the connections that stand; others work.

        In the end what was held back passes: so it is when a network is mended, and TCP repeats what
        was sent on an old connection later than new ones are made.
        """
        links = self._do(lambda: self._stall(share))
        try:
            yield
        finally:
            self._do(lambda: self._resume(links))

    @contextlib.contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        """Meanwhile every read takes so much longer, in both directions."""
        self._do(lambda: self._faults.delay(seconds))
        try:
            yield
        finally:
            self._do(lambda: self._faults.delay(0))

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Meanwhile nobody listens on the port; connections that stand are left alone."""
        self._do(self._close_listener)
        try:
            yield
        finally:
            self._await(self._listen)

    def reset(self, share: float = 1.0) -> int:
        """Reset about this share of all connections, on both sides; return how many it were."""
        return self._do(lambda: sum(link.reset() for link in self._chosen(share)))

    def half_open(self, closed: Side, share: float = 1.0) -> int:
        """Close one side of about this share of all connections; return how many it were.

        The other side is told nothing: its connection stays open, and what it sends is swallowed.
        """
        return self._do(lambda: sum(link.half_open(closed) for link in self._chosen(share)))

    # -- in the event loop ----------------------------------------------------------------------

    def _do(self, function: Callable[[], T]) -> T:
        async def do() -> T:
            return function()

        return self._await(do)

    def _await(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(function(), self._loop).result(_PATIENCE_SECONDS)

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(
            self._serve, sock=self._socket, limit=_READ_BYTES
        )

    def _close_listener(self) -> None:
        assert self._listener is not None
        self._listener.close()
        self._socket = _bound(self.port)  # so that nobody else gets the port

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self._faults, reader, writer)
        self._links[link] = task = self._loop.create_task(link.run(self._server_port))
        task.add_done_callback(lambda _: self._links.pop(link))

    def _chosen(self, share: float) -> list[_Link]:
        return [link for link in self._links if self._faults.chance.random() < share]

    def _stall(self, share: float) -> list[_Link]:
        links = self._chosen(share)
        for link in links:
            link.flowing.clear()
        return links

    def _resume(self, links: Sequence[_Link]) -> None:
        for link in links:
            link.flowing.set()

    def _speak_again(self, *, drop: bool) -> None:
        if drop:
            for link in self._links:
                link.reset()
        self._faults.flowing.set()

    async def _end(self) -> None:
        assert self._listener is not None
        self._listener.close()
        self._socket.close()
        links, tasks = list(self._links), list(self._links.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for link in links:
            link.abort()
        await asyncio.sleep(0)  # what closes their sockets comes after this


class _Faults:
    """What is wrong with the network at the moment; belongs to the event loop."""

    def __init__(self, messages: type[Messages], chance: random.Random) -> None:
        self.messages = messages
        self.chance = chance
        self.counts: Counter[Happened] = Counter()
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.delay_seconds = 0.0
        self._shares: Mapping[Fate, float] = {}
        self._victim: tuple[bytes, Fate] | None = None

    def choose(self, text: bytes, fate: Fate) -> None:
        self._victim = text, fate

    def break_commits(self, shares: Mapping[Fate, float]) -> None:
        self._shares = shares

    def delay(self, seconds: float) -> None:
        self.delay_seconds = seconds

    def fate_of(self, message: bytes) -> Fate | None:
        """What is to become of a message; None: it is passed on."""
        if self._victim is not None and self._victim[0] in message:
            _, fate = self._victim
            self._victim = None
            return fate
        if not self.messages.is_commit(message):
            return None
        self.counts[Happened.COMMIT] += 1
        drawn = self.chance.random()
        for fate, share in self._shares.items():
            drawn -= share
            if drawn < 0:
                return fate
        return None


class _Link:
    """The connection of a client and the one to the server that belongs to it."""

    def __init__(
        self, faults: _Faults, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._faults = faults
        self._readers = {Side.CLIENT: reader}
        self._writers = {Side.CLIENT: writer}
        self.flowing = asyncio.Event()
        self.flowing.set()
        self._is_half_open = False
        self._is_muted = False

    async def run(self, server_port: int) -> None:
        """Pass on what comes until both sides have ended."""
        self._faults.counts[Happened.CONNECTED] += 1
        try:
            await self._faults.flowing.wait()
            with contextlib.suppress(OSError):
                await self._connect(server_port)
                await asyncio.gather(
                    self._until_it_ends(self._upstream, Side.SERVER),
                    self._until_it_ends(self._downstream, Side.CLIENT),
                )
        finally:
            for writer in self._writers.values():
                writer.close()

    def reset(self) -> bool:
        """End both sides with RST; whether there was anything to end."""
        if self._is_closing:
            return False
        self._faults.counts[Happened.RESET] += 1
        for writer in self._writers.values():
            connection: socket.socket = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.abort()
        return True

    def half_open(self, closed: Side) -> bool:
        """Close one side and let the other believe that nothing has happened; whether that was news."""
        if self._is_closing or self._is_half_open or Side.SERVER not in self._writers:
            return False
        self._faults.counts[Happened.HALF_OPEN] += 1
        self._is_half_open = True
        self._writers[closed].close()
        return True

    def abort(self) -> None:
        """End both sides at once, whatever has yet to be sent."""
        for writer in self._writers.values():
            writer.transport.abort()

    @property
    def _is_closing(self) -> bool:
        return any(writer.is_closing() for writer in self._writers.values())

    async def _connect(self, server_port: int) -> None:
        reader, writer = await asyncio.open_connection(_HOST, server_port, limit=_READ_BYTES)
        self._readers[Side.SERVER] = reader
        self._writers[Side.SERVER] = writer

    async def _until_it_ends(
        self, pass_on: Callable[[], Coroutine[Any, Any, None]], to: Side
    ) -> None:
        with contextlib.suppress(OSError):
            await pass_on()
        if not self._is_half_open:
            self._writers[to].close()

    async def _upstream(self) -> None:
        server = self._writers[Side.SERVER]
        messages = self._faults.messages()
        async for data in self._arriving(Side.CLIENT):
            for message in messages.split(data):
                if server.is_closing():
                    return
                fate = None if self._is_muted else self._faults.fate_of(message)
                if fate is Fate.CUT_AFTER:
                    self._is_muted = True  # passes, with what the server wants before it answers
                elif fate is not None:
                    await self._stop_before_the_message(fate)
                    return
                server.write(message)
            await server.drain()

    async def _downstream(self) -> None:
        client = self._writers[Side.CLIENT]
        async for data in self._arriving(Side.SERVER):
            if self._is_muted:
                self._faults.counts[Happened.CUT_AFTER] += 1
                return
            client.write(data)
            await client.drain()

    async def _arriving(self, side: Side) -> AsyncIterator[bytes]:
        """What comes from one side, each read when it may be passed on."""
        while data := await self._readers[side].read(_READ_BYTES):
            await self._travel()
            if self._is_half_open:
                self._faults.counts[Happened.SWALLOWED] += 1
            else:
                yield data

    async def _travel(self) -> None:
        """Return when what has arrived may be passed on."""
        faults = self._faults
        for flowing in (faults.flowing, self.flowing):
            if not flowing.is_set():
                faults.counts[Happened.HELD_BACK] += 1
                await flowing.wait()
        if faults.delay_seconds:
            faults.counts[Happened.DELAYED] += 1
            await asyncio.sleep(faults.delay_seconds)

    async def _stop_before_the_message(self, fate: Fate) -> None:
        """Return when the connection to the server may end."""
        if fate is Fate.CUT_BEFORE:
            self._faults.counts[Happened.CUT_BEFORE] += 1
        elif fate is Fate.ABANDONED:
            self._faults.counts[Happened.ABANDONED] += self.half_open(Side.CLIENT)
        else:
            self._faults.counts[Happened.SILENCED] += 1
            self.flowing.clear()
            await self.flowing.wait()


def _bound(port: int) -> socket.socket:
    """A socket on which nobody listens yet; 0: on any free port."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((_HOST, port))
    return bound
