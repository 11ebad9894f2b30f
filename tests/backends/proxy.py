"""A TCP proxy that loses chosen messages between a database client and its server."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

__all__ = ["Proxy"]


class Proxy:
    """Passes bytes on to a server until it meets a statement that it was told to lose.

    Attributes:
        port: where on 127.0.0.1 it listens.

    Args:
        server_port: where on 127.0.0.1 the server listens.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._victim: bytes | None = None
        self._is_done_first = False
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def lose(self, statement: str, *, after_it_was_done: bool) -> None:
        """Cut the next connection that sends ``statement``, once.

        Args:
            statement: how the text of the statement begins.
            after_it_was_done: the server receives it, and only its answer is lost.
        """
        self._is_done_first = after_it_was_done
        self._victim = statement.encode()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                threading.Thread(target=self._upstream, args=(client, server), daemon=True).start()

    def _upstream(self, client: socket.socket, server: socket.socket) -> None:
        is_muted, is_answered = threading.Event(), threading.Event()
        threading.Thread(
            target=_downstream, args=(server, client, is_muted, is_answered), daemon=True
        ).start()
        with contextlib.suppress(OSError), client, server:
            while data := client.recv(65536):
                if self._victim is not None and self._victim in data:
                    self._victim = None
                    if self._is_done_first:
                        is_muted.set()
                        server.sendall(data)
                        is_answered.wait()
                    _shut(client)
                    _shut(server)
                    return
                server.sendall(data)
            _shut(server)


def _downstream(
    server: socket.socket,
    client: socket.socket,
    is_muted: threading.Event,
    is_answered: threading.Event,
) -> None:
    with contextlib.suppress(OSError):
        while data := server.recv(65536):
            if is_muted.is_set():
                is_answered.set()
            else:
                client.sendall(data)
    is_answered.set()
    _shut(client)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
