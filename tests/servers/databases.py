"""What the database servers have in common, whoever runs them."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from typing import Any, ClassVar

__all__ = ["DatabaseServer"]


class DatabaseServer(ABC):
    """How to reach a server, and what its administrator does on it.

    Attributes:
        host, port, username, password: with which an administrator connects.
        own_session: the SELECT that tells a session its own id.
    """

    host: str
    port: int
    username: str
    password: str
    own_session: ClassVar[str]

    def settings(self, db_name: str = "futurama") -> dict[str, Any]:
        """The configuration keys with which a backend reaches ``db_name`` on this server."""
        return {
            "host": self.host,
            "port": self.port,
            "username": self.username,
            "password": self.password,
            "db_name": db_name,
        }

    def create_database(self, prefix: str = "t") -> str:
        """Create an empty database; return its name, which nobody has used before."""
        name = f"{prefix}_{os.getpid()}_{time.monotonic_ns()}"
        self.execute(f"CREATE DATABASE {self.quoted(name)}")
        return name

    @abstractmethod
    def quoted(self, name: str) -> str:
        """``name`` as an identifier in a statement."""

    @abstractmethod
    def connect(self, database: str | None = None, *, autocommit: bool = True) -> Any:
        """A bare connection of the driver, for looking behind a backend's back."""

    @abstractmethod
    def execute(
        self, sql: str, *arguments: Any, database: str | None = None
    ) -> list[tuple[Any, ...]]:
        """Run one statement as the administrator and return its rows."""

    @abstractmethod
    def drop_database(self, name: str) -> None:
        """Remove a database, if it is there, and what is in it."""

    @abstractmethod
    def create_user(self, name: str, password: str) -> None:
        """Create a user without any right."""

    @abstractmethod
    def drop_user(self, name: str) -> None:
        """Remove a user whose rights, if any, were on databases that are gone."""

    @abstractmethod
    def sessions(self, database: str) -> list[int]:
        """The ids of the sessions that use a database."""

    @abstractmethod
    def end_session(self, session: int) -> None:
        """Close the connection of a session from the server's side."""
