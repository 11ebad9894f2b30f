"""Backends on stores of their own."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest

from futurama.backends.mysql import MySQLBackend, MySQLSettings
from futurama.backends.postgresql import PostgreSQLBackend, PostgreSQLSettings
from futurama.backends.redis import RedisBackend, RedisSettings
from tests.servers import (
    ExternalMySQL,
    ExternalPostgreSQL,
    ExternalRedis,
    MariaDB,
    PostgreSQL,
    Redis,
)

AnyBackend: TypeAlias = MySQLBackend | PostgreSQLBackend
"""A backend on a database server."""

MakeMySQL: TypeAlias = Callable[..., MySQLBackend]
MakePostgreSQL: TypeAlias = Callable[..., PostgreSQLBackend]
MakeRedis: TypeAlias = Callable[..., RedisBackend]
"""Makes a backend, not opened, from configuration keys that differ from the usual ones."""

_MEMBERS: dict[str, tuple[str, type[Any], type[Any], dict[str, str]]] = {
    "mysql": ("mysql", MySQLBackend, MySQLSettings, {}),
    "mysqldb": ("mysql", MySQLBackend, MySQLSettings, {"driver": "mysqldb"}),
    "postgresql": ("postgresql", PostgreSQLBackend, PostgreSQLSettings, {}),
}
"""Name -> (whose server it is on, backend, settings, the keys that make it what it is)."""


def configured(product: str, **keys: Any) -> AnyBackend:
    """A backend of this member, not opened, with these configuration keys."""
    _, backend_class, settings_class, usual = _MEMBERS[product]
    backend: AnyBackend = backend_class.from_settings(settings_class(**{**usual, **keys}))
    return backend


def skip_without_mysqldb() -> None:
    """Skip the test where the driver is not installed; on CI that fails it."""
    if importlib.util.find_spec("MySQLdb") is None:
        pytest.skip("NOT TESTED WITH THE DRIVER mysqldb: run `make servers`")


@attrs.frozen
class Site:
    """A new database on a server, and backends on it.

    Attributes:
        product: which member of the family.
        server: the server; only :func:`private_site` is sure to have one that can be killed.
        database: the name of the database.
    """

    product: str
    server: MariaDB | PostgreSQL
    database: str
    _made: list[AnyBackend] = attrs.field(factory=list, init=False)

    def make(self, **keys: Any) -> Any:
        """A backend, not opened, with configuration keys that differ from the usual ones."""
        backend = configured(self.product, **{**self.server.settings(self.database), **keys})
        self._made.append(backend)
        return backend

    def close(self) -> None:
        """Close the backends and remove the database."""
        for backend in self._made:
            backend.close()
        self.server.drop_database(self.database)


@contextmanager
def new_site(product: str, server: Any) -> Iterator[Site]:
    """A new database, which is gone afterwards."""
    site = Site(product, server, server.create_database())
    yield site
    site.close()


@pytest.fixture(params=_MEMBERS)
def product(request: pytest.FixtureRequest) -> str:
    """Each member of the family that has a server, MySQL with each driver."""
    if request.param == "mysqldb":
        skip_without_mysqldb()
    return str(request.param)


@pytest.fixture
def server_name(product: str) -> str:
    """Whose server the member is on, as fixtures are named."""
    return _MEMBERS[product][0]


@pytest.fixture
def site(product: str, server_name: str, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A new database on the server of each member."""
    with new_site(product, request.getfixturevalue(f"{server_name}_server")) as site:
        yield site


@pytest.fixture
def private_site(product: str, server_name: str, request: pytest.FixtureRequest) -> Iterator[Site]:
    """The same on a server that the test may kill, restart and reconfigure."""
    with new_site(product, request.getfixturevalue(f"private_{server_name}")) as site:
        yield site


@pytest.fixture
def backend(site: Site) -> Any:
    """One opened backend on a new database, of each member."""
    backend = site.make()
    backend.open()
    return backend


_MAKE_CERTIFICATE = (
    "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=futurama-test "
    "-addext subjectAltName=IP:127.0.0.1 -keyout server.key -out server.crt"
)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signs itself, ``server.crt``, and ``server.key`` beside it."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(_MAKE_CERTIFICATE.split(), cwd=folder, check=True, capture_output=True)
    return folder / "server.crt"


@pytest.fixture
def make_mysql(mysql_server: MariaDB | ExternalMySQL) -> Iterator[MakeMySQL]:
    """Backends on one new database."""
    with new_site("mysql", mysql_server) as site:
        yield site.make


@pytest.fixture
def make_private_mysql(private_mysql: MariaDB) -> Iterator[MakeMySQL]:
    """The same on a server that the test may kill, restart and reconfigure."""
    with new_site("mysql", private_mysql) as site:
        yield site.make


@pytest.fixture
def mysql(make_mysql: MakeMySQL) -> MySQLBackend:
    """One opened backend on a new database."""
    backend = make_mysql()
    backend.open()
    return backend


@pytest.fixture
def make_postgresql(
    postgresql_server: PostgreSQL | ExternalPostgreSQL,
) -> Iterator[MakePostgreSQL]:
    """Backends on one new database."""
    with new_site("postgresql", postgresql_server) as site:
        yield site.make


@pytest.fixture
def make_private_postgresql(private_postgresql: PostgreSQL) -> Iterator[MakePostgreSQL]:
    """The same on a server that the test may kill, restart and reconfigure."""
    with new_site("postgresql", private_postgresql) as site:
        yield site.make


@pytest.fixture
def postgresql(make_postgresql: MakePostgreSQL) -> PostgreSQLBackend:
    """One opened backend on a new database."""
    backend = make_postgresql()
    backend.open()
    return backend


@contextmanager
def _namespace(server: Redis | ExternalRedis) -> Iterator[MakeRedis]:
    namespace = server.create_database()
    made = []

    def make(**keys: Any) -> RedisBackend:
        backend = RedisBackend(RedisSettings(**{**server.settings(namespace), **keys}))
        made.append(backend)
        return backend

    yield make
    for backend in made:
        backend.close()
    server.drop_database(namespace)


@pytest.fixture
def make_redis(redis_server: Redis | ExternalRedis) -> Iterator[MakeRedis]:
    """Backends on one new namespace."""
    with _namespace(redis_server) as make:
        yield make


@pytest.fixture
def make_private_redis(private_redis: Redis) -> Iterator[MakeRedis]:
    """The same on a server that the test may kill, restart and reconfigure."""
    with _namespace(private_redis) as make:
        yield make


@pytest.fixture
def redis(make_redis: MakeRedis) -> RedisBackend:
    """One opened backend on a new namespace."""
    backend = make_redis()
    backend.open()
    return backend
