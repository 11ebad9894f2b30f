"""The command line in this process (:class:`Cli`) and in processes of its own (:class:`Program`)."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeAlias

import attrs
import pytest
from click.testing import CliRunner, Result

from futurama.backend import EventBackend
from futurama.cli.app import app
from futurama.config import Config
from tests.http.target import Target

ROOT = Path(__file__).parents[2]

PATIENCE_SECONDS = 60.0
"""How long to wait for what takes a second; reached only if something is broken."""


@attrs.frozen
class Cli:
    """Commands in this process, on a store in a folder of its own."""

    folder: Path
    config: Path

    def __call__(self, *arguments: str, text: str | None = None) -> Result:
        """Run a command, with ``text`` on its standard input."""
        return CliRunner().invoke(app, [*arguments, "--config", str(self.config)], input=text)

    def json(self, *arguments: str) -> Any:
        """What a command that must succeed prints with ``--json``."""
        result = self(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def configure(self, **keys: Any) -> None:
        """Replace the configuration."""
        self.config.write_text(json.dumps(keys), encoding="utf-8")

    @contextlib.contextmanager
    def backend(self) -> Iterator[EventBackend]:
        """The store itself, opened."""
        backend = Config.from_file(self.config).make_backend()
        backend.open()
        try:
            yield backend
        finally:
            backend.close()

    def files(self) -> list[str]:
        """What lies in the folder besides the configuration."""
        return sorted({path.name for path in self.folder.iterdir()} - {self.config.name})


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Commands on an SQLite file that does not exist yet."""
    cli = Cli(tmp_path, tmp_path / "queue.json")
    cli.configure(backend="sqlite", path=str(tmp_path / "events.db"))
    return cli


def assert_one_error(result: Result, *fragments: str) -> None:
    """The command failed with one line on the standard error, which contains ``fragments``."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    for fragment in fragments:
        assert fragment in result.stderr


class Program:
    """A command that runs in a process of its own."""

    def __init__(self, *arguments: str, cwd: Path, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "futurama.cli", *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def line(self) -> str:
        """The next line of its standard output."""
        assert self._process.stdout is not None
        return _line(self._process.stdout)

    def wait_for_error(self, fragment: str) -> None:
        """Read lines of its standard error until one contains ``fragment``."""
        assert self._process.stderr is not None
        while fragment not in _line(self._process.stderr):
            pass

    def send(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def insist(self, number: int) -> None:
        """Send a signal again and again until the process has ended."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._process.poll() is None:
            assert time.monotonic() < deadline, "it does not end"
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)

    def finish(self) -> tuple[int, str, str]:
        """Wait for its end: (exit status, the rest of its output, its errors)."""
        stdout, stderr = self._process.communicate(timeout=PATIENCE_SECONDS)
        return self._process.returncode, stdout, stderr

    def end(self) -> None:
        """Clean up, whatever it does."""
        self._process.kill()
        self._process.communicate()


def _line(stream: IO[str]) -> str:
    line = stream.readline()  # should it never come, pytest's timeout ends the test
    assert line, "it has ended"
    return line


@pytest.fixture
def target() -> Iterator[Target]:
    """A server for HTTP calls."""
    with Target() as started:
        yield started


Spawn: TypeAlias = Callable[..., Program]


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """Starts programs in the test's folder; they end with the test."""
    programs: list[Program] = []

    def start(*arguments: str, **env: str) -> Program:
        programs.append(Program(*arguments, cwd=tmp_path, env=env))
        return programs[-1]

    yield start
    for program in programs:
        program.end()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until something is true that happens in another process."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)  # poll: another process offers nothing to wait for
