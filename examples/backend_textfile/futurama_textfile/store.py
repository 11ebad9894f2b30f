"""Rows in a text file, one JSON object per line; every change replaces the whole file."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import attrs

from futurama.backend import State, StoredEvent
from futurama.errors import BackendSetupError, BackendUnavailableError, OutcomeUnknownError

__all__ = ["NAME", "Row", "Rows", "Store"]

NAME = "textfile"


@attrs.frozen(kw_only=True)
class Row:
    """One stored event: what people see of it, and the token of its claim."""

    id: str
    trigger_type: str
    trigger_time: datetime
    payload: bytes
    created: datetime
    state: State = State.WAITING
    due: datetime | None
    attempt: int = 0
    token: bytes | None = None
    owner: str | None = None
    lost: bool = False
    died: datetime | None = None
    reason: str | None = None

    @property
    def order(self) -> str:
        """Sorts live rows by (due, id) before dead ones by (died, id).

        The time has a fixed width. Python compares text by code points, and so in the order of the
        UTF-8 bytes.
        """
        time = self.died if self.due is None else self.due
        assert time is not None
        return f"{self.state is State.DEAD:d} {time.isoformat(timespec='microseconds')} {self.id}"

    def visible(self) -> StoredEvent:
        """What ``find`` shows."""
        fields = attrs.asdict(self, recurse=False)
        del fields["token"]
        return StoredEvent(**fields)


Rows: TypeAlias = dict[str, Row]
"""All stored events by their ids."""


class Store:
    """The file. It keeps nothing in memory, so all instances, threads and processes see the same.

    Beside it lie ``<path>.lock`` and, while a change is being written, ``<path>.new``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._new = path.with_name(f"{path.name}.new")
        self._lock = path.with_name(f"{path.name}.lock")

    def create(self) -> None:
        """Make an empty file if there is none; from then on a missing file is an error."""
        with self._errors_translated():
            self._path.touch()
            self._sync_folder()

    def read(self) -> Rows:
        """All rows. It takes no lock: the file is always whole, before or after a change."""
        with self._errors_translated():
            lines = self._path.read_bytes().splitlines()
        try:
            return {row.id: row for row in map(_from_line, lines)}
        except (ValueError, KeyError, TypeError) as error:
            raise BackendSetupError(
                f"{self._path} is damaged, restore a backup: {error!r}", backend=NAME
            ) from error

    @contextmanager
    def change(self) -> Iterator[Rows]:
        """All rows, to be changed in place; at the end of ``with`` they are on the disk."""
        with self._errors_translated(), self._locked():
            rows = self.read()
            before = rows.copy()
            yield rows
            if rows != before:
                self._replace(rows)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Opened for each call: flock is between open files, so it parts threads as well.
        lock = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # a fork may have copied it, so closing is not enough
            os.close(lock)

    def _replace(self, rows: Rows) -> None:
        with self._new.open("wb") as file:
            file.writelines(map(_to_line, rows.values()))
            file.flush()
            os.fsync(file.fileno())
        self._new.replace(self._path)  # the moment at which everything changes, or nothing
        try:
            self._sync_folder()
        except OSError as error:
            raise OutcomeUnknownError(f"{self._path}: {error.strerror}", backend=NAME) from error

    def _sync_folder(self) -> None:
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _errors_translated(self) -> Iterator[None]:
        """For what happens before anything is changed."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
            raise BackendSetupError(
                f"{self._path}: {error.strerror}; does its folder exist, and may we write there?",
                backend=NAME,
            ) from error
        except OSError as error:
            raise BackendUnavailableError(
                f"{self._path}: {error.strerror}", backend=NAME
            ) from error


def _to_line(row: Row) -> bytes:
    fields = attrs.asdict(row, value_serializer=_to_json)
    return json.dumps(fields).encode() + b"\n"


def _to_json(_row: Any, field: attrs.Attribute[Any], value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, State):
        return value.value
    if isinstance(value, bytes):
        return value.hex() if field.name == "token" else value.decode("utf-8", "surrogateescape")
    return value


def _from_line(line: bytes) -> Row:
    fields = json.loads(line)
    for name in ("trigger_time", "created", "due", "died"):
        if fields[name] is not None:
            fields[name] = datetime.fromisoformat(fields[name])
    if fields["token"] is not None:
        fields["token"] = bytes.fromhex(fields["token"])
    fields["state"] = State(fields["state"])
    fields["payload"] = fields["payload"].encode("utf-8", "surrogateescape")
    return Row(**fields)
