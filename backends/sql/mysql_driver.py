"""What the MySQL backend wants of a driver."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from futurama.backends.sql.hosts import Address
from futurama.backends.sql.mysql_settings import MySQLSettings

__all__ = ["MySQLDriver"]


class MySQLDriver(ABC):
    """A package that speaks to MySQL servers.

    Args:
        settings: as whom to connect, and how long to wait.

    Attributes:
        url: the name under which SQLAlchemy knows the driver.
        module: the package, with its classes of errors.
    """

    url: ClassVar[str]
    module: ClassVar[Any]

    def __init__(self, settings: MySQLSettings) -> None:
        self._settings = settings

    @abstractmethod
    def load_certificates(self) -> None:
        """Read what :meth:`connect` needs for TLS, if the settings want it.

        Raises:
            OSError: that cannot be read.
        """

    @abstractmethod
    def connect(self, address: Address, *, database: str | None, autocommit: bool) -> Any:
        """Connect; a server that accepts and says nothing costs no more than ``connect_timeout_sec``.

        What comes back knows ``mysql_values.ENCODERS``, gives up on a silent server, and, if the
        settings want that, has checked who the server is. As long as :meth:`connected` has not been
        called, it had better give up after ``connect_timeout_sec``.

        Raises:
            UnicodeError: the host can be no name.
            RuntimeError: the driver needs a further package.
        """

    @abstractmethod
    def connected(self, connection: Any) -> None:
        """The session is set up: from now on the server may be silent for ``read_timeout_sec``."""

    @abstractmethod
    def ping(self, connection: Any) -> None:
        """Raise one of the driver's errors unless the server answers."""
