"""Encrypted connections, with servers that have a certificate of their own making."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from futurama.errors import BackendSetupError, BackendUnavailableError
from tests.backends.conftest import Site, new_site
from tests.servers import MariaDB, PostgreSQL
from tests.servers.proxy import Happened, Proxy

_CIPHERS = {
    "mysql": "SHOW STATUS LIKE 'Ssl_cipher'",
    "mysqldb": "SHOW STATUS LIKE 'Ssl_cipher'",
    "postgresql": "SELECT pid, cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
}

_OTHER_NAMES = {
    "mysql": "localhost",
    "mysqldb": "127.1",  # for `localhost` this driver is given the address
    "postgresql": "localhost",
}
"""Of the address in the certificate."""


@pytest.fixture(scope="module")
def secret_mysql(mysql_server: object, certificate: Path) -> Iterator[MariaDB]:
    """A server that shows the certificate; skipped where the other server is missing, too."""
    key = certificate.with_name("server.key")
    with MariaDB(f"--ssl-cert={certificate}", f"--ssl-key={key}") as server:
        yield server


@pytest.fixture(scope="module")
def secret_postgresql(postgresql_server: object, certificate: Path) -> Iterator[PostgreSQL]:
    """A server that shows the certificate; skipped where the other server is missing, too."""
    server = PostgreSQL(ssl="on")
    for name in ("server.crt", "server.key"):
        shutil.copy(certificate.with_name(name), server.directory / "data")
    with server:
        yield server


@pytest.fixture
def site(product: str, server_name: str, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A new database on a server that shows the certificate."""
    with new_site(product, request.getfixturevalue(f"secret_{server_name}")) as site:
        yield site


def test_a_trusted_server_is_spoken_to_in_secret(site: Site, certificate: Path) -> None:
    """With ssl and the certificate in ssl_ca every connection has a cipher."""
    backend = site.make(ssl=True, ssl_ca=str(certificate))
    backend.open()
    for run in (backend._transactions.read, backend._transactions.write):
        _, cipher = run(lambda connection: connection.exec_driver_sql(_CIPHERS[site.product]).one())
        assert cipher
    sessions = [
        backend._transactions.read(
            lambda connection: connection.exec_driver_sql(site.server.own_session).scalar_one()
        )
        for _ in range(2)
    ]
    assert sessions[0] == sessions[1], "the connection was not used again"


_HELLO = "\x16\x03\x01"
"""How clients begin to agree on TLS, in the words of which a proxy understands nothing."""


def test_a_connection_that_is_lost_before_it_is_secret(site: Site, certificate: Path) -> None:
    """That a server dies at this moment is no matter of certificates; another try may help at once."""
    with Proxy(site.server.port) as proxy:
        proxy.lose(_HELLO, after_it_was_done=False)
        with contextlib.suppress(BackendUnavailableError):
            site.make(ssl=True, ssl_ca=str(certificate), port=proxy.port).open()
        assert proxy.counts[Happened.CUT_BEFORE] == 1


def test_a_server_that_is_silent_before_it_is_secret(site: Site, certificate: Path) -> None:
    """That costs ``connect_timeout_sec``, and is no matter of certificates."""
    with Proxy(site.server.port) as proxy:
        proxy.go_silent_at(_HELLO)
        backend = site.make(
            ssl=True,
            ssl_ca=str(certificate),
            port=proxy.port,
            connect_timeout_sec=2,
            read_timeout_sec=600,
        )
        with pytest.raises(BackendUnavailableError):
            backend.open()
        assert proxy.counts[Happened.SILENCED] == 1


def test_an_unknown_certificate_is_refused(site: Site) -> None:
    """With ssl alone a server that the system does not know is a matter of set-up."""
    with pytest.raises(BackendSetupError, match="ssl_ca"):
        site.make(ssl=True).open()


def test_a_certificate_for_another_name_is_refused(site: Site, certificate: Path) -> None:
    """The certificate has to be for the host that the configuration names."""
    with pytest.raises(BackendSetupError, match="ssl_verify"):
        site.make(ssl=True, ssl_ca=str(certificate), host=_OTHER_NAMES[site.product]).open()


def test_verification_can_be_switched_off(site: Site) -> None:
    """With ssl_verify false any certificate will do."""
    site.make(ssl=True, ssl_verify=False).open()


def test_without_ssl_nothing_is_encrypted(site: Site) -> None:
    """That is what false means, even where the server could."""
    backend = site.make()
    backend.open()
    _, cipher = backend._transactions.read(
        lambda connection: connection.exec_driver_sql(_CIPHERS[site.product]).one()
    )
    assert not cipher
