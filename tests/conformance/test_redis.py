"""The Redis backend keeps the laws: the protocol is not SQL in disguise."""

from __future__ import annotations

import atexit
import contextlib
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from unittest import SkipTest

from futurama.backend import Capabilities, EventBackend
from futurama.backends.redis import RedisBackend, RedisSettings
from futurama.conformance import BackendConformance
from tests.servers import ExternalRedis, Redis, ServerMissingError, redis_server


@functools.cache
def _server() -> Redis | ExternalRedis:
    """The server for all tests of this file, ended when Python ends."""
    stack = contextlib.ExitStack()
    try:
        server = stack.enter_context(redis_server())
    except ServerMissingError as error:
        raise SkipTest(str(error)) from error
    atexit.register(stack.close)
    return server


class TestRedis(BackendConformance):
    """Microseconds, in sorted sets and hashes."""

    capabilities = Capabilities(
        durable=True,
        shared=True,
        resolution=timedelta(microseconds=1),
        max_data_bytes=1024 * 1024,
    )

    @classmethod
    @contextmanager
    def make_backend(cls) -> Iterator[EventBackend]:
        """A backend on a new namespace."""
        server = _server()
        namespace = server.create_database()
        try:
            yield RedisBackend(RedisSettings(**server.settings(namespace)))
        finally:
            server.drop_database(namespace)

    @classmethod
    def connector(cls, backend: EventBackend) -> Callable[[], EventBackend]:
        """Another instance on the same namespace."""
        assert isinstance(backend, RedisBackend)
        return functools.partial(RedisBackend, backend._settings)
