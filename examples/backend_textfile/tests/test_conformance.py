"""The backend keeps every law of Futurama."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from futurama.backend import Capabilities, EventBackend
from futurama.conformance import BackendConformance
from futurama_textfile import TextFileBackend, TextFileSettings


class TestTextFile(BackendConformance):
    """Every law, on a file of its own for each store."""

    capabilities = Capabilities(
        durable=True,
        shared=True,
        resolution=timedelta(microseconds=1),
        max_data_bytes=64 * 1024,
    )

    @classmethod
    @contextmanager
    def make_backend(cls) -> Iterator[EventBackend]:
        """A new, empty store."""
        with TemporaryDirectory() as folder:
            yield TextFileBackend(TextFileSettings(path=str(Path(folder) / "events.jsonl")))

    @classmethod
    def connector(cls, backend: EventBackend) -> Callable[[], EventBackend]:
        """Another instance on the same file."""
        assert isinstance(backend, TextFileBackend)
        return partial(TextFileBackend, backend.settings)
