"""The SQLite backend keeps the laws."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from futurama.backend import Capabilities, EventBackend
from futurama.backends.sqlite import SQLiteBackend, SQLiteSettings
from futurama.conformance import BackendConformance


class TestSQLite(BackendConformance):
    """Every law, on a file of its own for each store."""

    capabilities = Capabilities(
        durable=True,
        shared=True,
        resolution=timedelta(microseconds=1),
        max_data_bytes=1024 * 1024,
    )

    @classmethod
    @contextmanager
    def make_backend(cls) -> Iterator[EventBackend]:
        """A backend on a new file."""
        with tempfile.TemporaryDirectory() as folder:
            yield SQLiteBackend(SQLiteSettings(path=str(Path(folder) / "events.db")))

    @classmethod
    def connector(cls, backend: EventBackend) -> Callable[[], EventBackend]:
        """Another instance on the same file."""
        assert isinstance(backend, SQLiteBackend)
        return functools.partial(SQLiteBackend, backend._settings)
