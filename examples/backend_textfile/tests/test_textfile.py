"""What only this backend has: a file that people read, and that can be missing, damaged or full."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from futurama.backend import AddOutcome, NewEvent, Query, State
from futurama.errors import BackendSetupError, BackendUnavailableError
from futurama_textfile import TextFileBackend, TextFileSettings

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file will be."""
    return tmp_path / "events.jsonl"


@pytest.fixture
def backend(path: Path) -> TextFileBackend:
    """An open backend on a new file."""
    backend = TextFileBackend(TextFileSettings(path=str(path)))
    backend.open()
    return backend


def event(event_id: str) -> NewEvent:
    """A new event."""
    return NewEvent(
        id=event_id, trigger_type="ring", trigger_time=NOW, payload=b'{"n": 1}', created=NOW
    )


def test_people_can_read_the_file(backend: TextFileBackend, path: Path) -> None:
    """Each event is a line of JSON with its times and its data in clear."""
    backend.add([event("a"), event("b")], if_exists="raise")
    first, second = map(json.loads, path.read_text().splitlines())
    assert (first["id"], second["id"]) == ("a", "b")
    assert first["due"] == "2030-01-01T00:00:00+00:00"
    assert first["payload"] == '{"n": 1}'


def test_missing_folder_is_named(tmp_path: Path) -> None:
    """Whoever configures a folder that does not exist is told so."""
    backend = TextFileBackend(TextFileSettings(path=str(tmp_path / "none" / "events.jsonl")))
    with pytest.raises(BackendSetupError, match=r"none/events\.jsonl"):
        backend.open()


def test_missing_file_is_no_empty_one(backend: TextFileBackend, path: Path) -> None:
    """A file that vanishes under an open backend is an error, not a queue without events."""
    path.unlink()
    with pytest.raises(BackendSetupError):
        backend.add([event("a")], if_exists="raise")
    with pytest.raises(BackendSetupError):
        backend.count()


@pytest.mark.parametrize("line", ["{", "[]", "{}", "1"])
def test_damaged_file_is_named(backend: TextFileBackend, path: Path, line: str) -> None:
    """A line that is no event stops everything until somebody has looked."""
    path.write_text(f"{line}\n")
    with pytest.raises(BackendSetupError, match=r"events\.jsonl is damaged"):
        backend.find(Query())


def test_failed_write_changes_nothing(backend: TextFileBackend) -> None:
    """What could not be written has not happened, and goes through when there is room again."""
    backend.add([event("a")], if_exists="raise")
    with _no_room(), pytest.raises(BackendUnavailableError, match="File too large"):
        backend.add([event("b")], if_exists="raise")
    assert backend.count()[State.WAITING] == 1
    assert backend.add([event("b")], if_exists="raise") == [AddOutcome.ADDED]


@contextmanager
def _no_room() -> Iterator[None]:
    """The system refuses to write more than ten bytes into any file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_fork_does_not_keep_the_lock(backend: TextFileBackend) -> None:
    """A child that was forked in the middle of a call does not lock its parent out."""
    read, write = os.pipe()
    with backend._store.change():
        child = os.fork()
        if child == 0:
            os.read(read, 1)
            os._exit(0)
    assert backend.add([event("a")], if_exists="raise") == [AddOutcome.ADDED]
    os.write(write, b"\0")
    assert os.waitpid(child, 0)[1] == 0
    os.close(read)
    os.close(write)
