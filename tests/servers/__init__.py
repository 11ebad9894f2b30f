"""Private database servers for tests, benchmarks and demonstrations.

Each runs the binary that is installed on this machine in a folder of its own, on a free loopback port.
Import this from anything: it needs no pytest. ``FUTURAMA_TEST_MYSQL_URL``
(``mysql://user:password@host:port/``) makes :func:`mysql_server` hand out that server instead,
``FUTURAMA_TEST_POSTGRESQL_URL`` (``postgresql://user:password@host:port/``) :func:`postgresql_server`
and ``FUTURAMA_TEST_REDIS_URL`` (``redis://user:password@host:port/db``) :func:`redis_server`. Such a
server is shared: it cannot be stopped or reconfigured.
"""

from tests.servers.mariadb import ExternalMySQL, MariaDB, mysql_server
from tests.servers.postgresql import ExternalPostgreSQL, PostgreSQL, postgresql_server
from tests.servers.process import PrivateServer, ServerMissingError, free_port
from tests.servers.redis import ExternalRedis, Redis, redis_server

__all__ = [
    "ExternalMySQL",
    "ExternalPostgreSQL",
    "ExternalRedis",
    "MariaDB",
    "PostgreSQL",
    "PrivateServer",
    "Redis",
    "ServerMissingError",
    "free_port",
    "mysql_server",
    "postgresql_server",
    "redis_server",
]
