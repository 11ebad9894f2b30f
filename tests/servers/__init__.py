"""Private database servers for tests, benchmarks and demonstrations.

Each runs the binary that is installed on this machine in a folder of its own, on a free loopback port.
Import this from anything: it needs no pytest. ``FUTURAMA_TEST_MYSQL_URL``
(``mysql://user:password@host:port/``) makes :func:`mysql_server` hand out that server instead. Such
a server is shared: it cannot be stopped or reconfigured.
"""

from tests.servers.mariadb import ExternalMySQL, MariaDB, mysql_server
from tests.servers.process import PrivateServer, ServerMissingError, free_port

__all__ = [
    "ExternalMySQL",
    "MariaDB",
    "PrivateServer",
    "ServerMissingError",
    "free_port",
    "mysql_server",
]
