"""Encrypted connections to Redis, with a server that has a certificate of its own making."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from futurama.backends.redis import RedisBackend, RedisSettings
from futurama.errors import BackendError, BackendSetupError, BackendUnavailableError
from tests.servers import Redis, free_port

Open: TypeAlias = Callable[..., RedisBackend]
"""Makes and opens a backend on the encrypted port, with configuration keys."""


@contextmanager
def _server(certificate: Path, *options: str) -> Iterator[Open]:
    port = free_port()
    made: list[RedisBackend] = []

    def make(**keys: Any) -> RedisBackend:
        arguments = {**server.settings(), "port": port, "connect_timeout_sec": 2.0, **keys}
        backend = RedisBackend(RedisSettings(**arguments))
        made.append(backend)
        backend.open()
        return backend

    with Redis(
        f"--tls-port {port}",
        f"--tls-cert-file {certificate}",
        f"--tls-key-file {certificate.with_name('server.key')}",
        f"--tls-ca-cert-file {certificate}",
        *options,
    ) as server:
        yield make
        for backend in made:
            backend.close()


@pytest.fixture(scope="module")
def tls(redis_server: object, certificate: Path) -> Iterator[Open]:
    """A server that shows the certificate; skipped where the other server is missing, too."""
    with _server(certificate, "--tls-auth-clients no") as make:
        yield make


def test_a_trusted_server_is_spoken_to_in_secret(tls: Open, certificate: Path) -> None:
    """With ssl and the certificate in ssl_ca the backend works, also when connections go idle."""
    backend = tls(ssl=True, ssl_ca=str(certificate))
    for _ in range(3):
        assert sum(backend.count().values()) == 0


def test_an_unknown_certificate_is_refused(tls: Open) -> None:
    """With ssl alone a server that the system does not know is a matter of set-up."""
    with pytest.raises(BackendSetupError, match="begin with ssl"):
        tls(ssl=True)


def test_a_certificate_for_another_name_is_refused(tls: Open, certificate: Path) -> None:
    """A trusted certificate that is not the host's does not help."""
    with pytest.raises(BackendSetupError, match="begin with ssl"):
        tls(ssl=True, ssl_ca=str(certificate), host="localhost")


def test_verification_can_be_switched_off(tls: Open) -> None:
    """With ssl_verify false any certificate will do."""
    assert sum(tls(ssl=True, ssl_verify=False).count().values()) == 0


def test_plain_text_is_not_understood(tls: Open) -> None:
    """Without ssl the error names that key."""
    with pytest.raises(BackendError, match="ssl"):
        tls(ssl=False)


def test_a_handshake_that_is_cut_off_is_no_matter_of_certificates() -> None:
    """What happens when a server is restarted behind a proxy goes by itself: it may be tried again."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def cut_off() -> None:
            listener.accept()[0].close()

        threading.Thread(target=cut_off).start()
        backend = RedisBackend(RedisSettings(port=listener.getsockname()[1], ssl=True))
        with pytest.raises(BackendUnavailableError):
            backend.open()


def test_a_server_that_wants_a_certificate(redis_server: object, certificate: Path) -> None:
    """With ssl_cert and ssl_key the backend shows one; without, it is not let in."""
    trusting: dict[str, Any] = {"ssl": True, "ssl_ca": str(certificate)}
    with _server(certificate, "--tls-auth-clients yes") as make:
        with pytest.raises(BackendError):
            make(**trusting)
        key = str(certificate.with_name("server.key"))
        backend = make(**trusting, ssl_cert=str(certificate), ssl_key=key)
        assert sum(backend.count().values()) == 0
