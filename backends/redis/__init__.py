"""Events in Redis or Valkey: fast, shared, and as durable as the server's append-only file.

``"backend": "redis"``. Needs redis-py: ``pip install "futurama[redis]"``.

* ``settings``: the configuration keys.
* ``records``: how Python reads and writes what the scripts in ``lua/`` store.
* ``errors``: from the answers of servers to the classes of ``futurama.errors``.
* ``pool``, ``abandoned``, ``server``: connections, and one script per call.
* ``diagnosis``: how well the server is set up.
* ``backend``: all operations.
"""

from __future__ import annotations

from futurama.backends.redis.backend import RedisBackend
from futurama.backends.redis.settings import RedisSettings

__all__ = ["RedisBackend", "RedisSettings"]
