"""Encrypted connections, with a server that has a certificate of its own making."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from futurama.backends.mysql import MySQLBackend, MySQLSettings
from futurama.errors import BackendSetupError
from tests.servers import MariaDB

_MAKE_CERTIFICATE = (
    "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=futurama-test "
    "-addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out certificate.pem"
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signs itself, and its key beside it."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(_MAKE_CERTIFICATE.split(), cwd=folder, check=True, capture_output=True)
    return folder / "certificate.pem"


@pytest.fixture(scope="module")
def server(mysql_server: object, certificate: Path) -> Iterator[MariaDB]:
    """A server that shows the certificate; skipped where the other server is missing, too."""
    key = certificate.with_name("key.pem")
    with MariaDB(f"--ssl-cert={certificate}", f"--ssl-key={key}") as server:
        yield server


def test_a_trusted_server_is_spoken_to_in_secret(server: MariaDB, certificate: Path) -> None:
    """With ssl and the certificate in ssl_ca every connection has a cipher."""
    keys = server.settings(server.create_database())
    backend = MySQLBackend(MySQLSettings(**keys, ssl=True, ssl_ca=str(certificate)))
    backend.open()
    for run in (backend._transactions.read, backend._transactions.write):
        _, cipher = run(
            lambda connection: connection.exec_driver_sql("SHOW STATUS LIKE 'Ssl_cipher'").one()
        )
        assert cipher
    backend.close()


def test_an_unknown_certificate_is_refused(server: MariaDB) -> None:
    """With ssl alone a server that the system does not know is a matter of set-up."""
    backend = MySQLBackend(MySQLSettings(**server.settings(), ssl=True))
    with pytest.raises(BackendSetupError, match="ssl_ca"):
        backend.open()


def test_verification_can_be_switched_off(server: MariaDB) -> None:
    """With ssl_verify false any certificate will do."""
    keys = server.settings(server.create_database())
    backend = MySQLBackend(MySQLSettings(**keys, ssl=True, ssl_verify=False))
    backend.open()
    backend.close()
